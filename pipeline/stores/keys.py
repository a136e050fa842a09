"""Secret keys: encrypted keystore files (the Web3 secret storage of Ethereum wallets), opened only where something is signed.

A keystore written here also holds `publicKey` ("x,y"), so that every pool but the signing one does without the password.
"""

import json
import os
import secrets
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipeline.errors import Malformed, Misconfigured
from pipeline.protocol.encodings import address_of, from_hex, point33_from_public_key
from pipeline.protocol.signing import SecretKey
from pipeline.settings import MinerSettings, Settings

#: PBKDF2 rounds: half a second to open, once a worker.
_ITERATIONS = 262_144


@dataclass(frozen=True, kw_only=True)
class Identity:
    """A miner of this fleet, without its secret."""

    name: str
    address: str
    #: SEC1 compressed public key.
    point33: bytes
    #: Folder that holds one folder per data set.
    data: Path


def identities(settings: Settings) -> list[Identity]:
    """Every miner of this fleet. Raises Misconfigured: a keystore that is missing or unreadable, two with one address."""
    found = [_identity(settings, miner) for miner in settings.miner]
    if settings.miner_private_key is not None:
        key = _environment_key(settings)
        found.append(Identity(name="miner", address=key.address, point33=key.point33, data=settings.path("data")))
    if len({identity.address for identity in found}) != len(found):
        raise Misconfigured("two [[miner]] tables of fleet.toml have the same key; each identity needs its own")
    return found


def secret_key(settings: Settings, address: str) -> SecretKey:
    """Opens the secret key of one of this fleet's miners. Raises Misconfigured."""
    if settings.miner_private_key is not None and (key := _environment_key(settings)).address == address:
        return key
    for miner in settings.miner:
        if _identity(settings, miner).address == address:
            return open_keystore(settings.path(miner.key), _password_file(settings, miner))
    raise Misconfigured(f"no [[miner]] of fleet.toml has the address {address}; restore its keystore")


def party_key(settings: Settings) -> SecretKey:
    """Opens the key of a publisher, an aggregator or a backend. Raises Misconfigured."""
    if settings.party_key is None:
        raise Misconfigured("FLFLEET_PARTY_KEY (or party_key in fleet.toml) must name this party's keystore")
    path = settings.path(settings.party_key)
    return open_keystore(path, path.with_suffix(".password"))


@lru_cache(maxsize=64)
def open_keystore(path: Path, password_file: Path) -> SecretKey:
    """Decrypts a keystore; kept open for the process's life. Raises Misconfigured without showing anything secret."""
    try:
        password = password_file.read_text().strip()
    except OSError:
        raise Misconfigured(f"{password_file}: cannot be read; it must hold the password of {path.name}") from None
    return decrypted(path, password, f"the password in {password_file.name}")


def decrypted(path: Path, password: str, its_name: str = "the password") -> SecretKey:
    """Decrypts a keystore by a password at hand. Raises Misconfigured without showing anything secret."""
    document = _read(path)
    try:
        import eth_keyfile  # it imports pairings that nobody needs here: a third of a worker's start

        return SecretKey(bytes(eth_keyfile.decode_keyfile_json(document, password.encode())))
    except (ValueError, KeyError, TypeError, NotImplementedError):
        raise Misconfigured(f"{path}: {its_name} does not open it, or it is damaged") from None


def write_keystore(
    path: Path, key: SecretKey | None = None, password: str | None = None, *, beside: bool = True
) -> Path:
    """Writes a keystore (a fresh key by default) and `beside` it `.password`, both for the owner's eyes only.

    Raises Misconfigured where one is there already: a key is never overwritten.
    """
    key = key or SecretKey.generate()
    password = password or secrets.token_urlsafe(24)
    import eth_keyfile  # as above

    document = eth_keyfile.create_keyfile_json(key.secret, password.encode(), kdf="pbkdf2", iterations=_ITERATIONS)
    document |= {"address": key.address[2:], "publicKey": key.public_key}
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_private(path, json.dumps(document, indent=1))
    if beside:
        _write_private(path.with_suffix(".password"), password + "\n")
    return path


def public_part(path: Path) -> tuple[str, bytes]:
    """Address and SEC1 public key of a keystore, without its password. Raises Misconfigured."""
    text = _read(path).get("publicKey")
    if not isinstance(text, str):
        raise Misconfigured(f"{path}: has no publicKey member; write it anew with: flfleet keys import")
    try:
        point33 = point33_from_public_key(text, str(path))
    except Malformed as error:
        raise Misconfigured(str(error)) from None
    return address_of(point33), point33


def _identity(settings: Settings, miner: MinerSettings) -> Identity:
    address, point33 = public_part(settings.path(miner.key))
    return Identity(name=miner.name, address=address, point33=point33, data=settings.path(miner.data))


def _password_file(settings: Settings, miner: MinerSettings) -> Path:
    return settings.path(miner.password_file or miner.key.with_suffix(".password"))


def _environment_key(settings: Settings) -> SecretKey:
    assert settings.miner_private_key is not None
    text = settings.miner_private_key.get_secret_value().removeprefix("0x").lower()
    try:
        return SecretKey(from_hex("0x" + text, 32))
    except (Malformed, ValueError):
        raise Misconfigured("FLFLEET_MINER_PRIVATE_KEY must be 64 hex digits, a value from 1 to q-1") from None


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text())
    except OSError:
        raise Misconfigured(f"{path}: no keystore there; make one with: flfleet keys new") from None
    except ValueError:
        raise Misconfigured(f"{path}: is not a keystore (JSON)") from None
    if not isinstance(document, dict):
        raise Misconfigured(f"{path}: is not a keystore (JSON object)")
    return document


def _write_private(path: Path, text: str) -> None:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise Misconfigured(f"{path} is there already; a key is never overwritten") from None
    with os.fdopen(handle, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
