"""Home folders: writing the commented `fleet.toml`, keys and folders of a miner's fleet or of another party."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cli.consortium import Consortium
from pipeline.errors import Misconfigured
from pipeline.stores.keys import public_part, write_keystore

_FLEET = """\
# A fleet of flfleet. Every setting may also come from the environment, as FLFLEET_ and its name in capitals.
# Relative paths start at this folder. All settings: docs/settings.md

# The task board that beat polls.
backend_url = {backend}

# Whom to trust. An empty list trusts nobody, so no task runs; `flfleet doctor` says so.
trusted_publishers = {publishers}
trusted_aggregators = {aggregators}
# Miners that you know not to collude. A task needs at least min_known_participants of them (you included) in every sum.
known_miners = {miners}
# min_known_participants = 3
# min_coordinates = 1024

# Broker, ledger and artifacts lie in this folder unless they are named; a fleet of several machines names all three.
# broker_url = "redis://redis:6379/0"
# ledger_url = "postgresql+psycopg://flfleet@postgres/flfleet"
# artifacts_url = "s3://flfleet-artifacts"
{extra}
# Your identities. `key` is an encrypted keystore, its password lies beside it in a file with the ending .password
# (or where password_file says); `data` holds one folder per data set.
{identities}"""

_IDENTITY = """\
[[miner]]
name = {name}
key = {key}
data = {data}
{further}"""

_PARTY = """\
# The home of a {role}. Every setting may also come from the environment, as FLFLEET_ and its name in capitals.
roles = [{role_text}]
{settings}"""


@dataclass(frozen=True, kw_only=True)
class NewMiner:
    """An identity to be: keystore and data folder, relative to the home."""

    name: str
    data: Path


def create_fleet_home(
    home: Path,
    miners: Sequence[NewMiner],
    consortium: Consortium | None,
    extra: str = "",
    passwords: Path | None = None,
) -> list[str]:
    """Makes a miner's home: fleet.toml, a fresh key per identity, data folders. Returns the addresses.

    `passwords`: a folder of the home for the keystores' passwords, for pools that must not see them; none: beside the keys.

    Raises Misconfigured where the home has a fleet.toml already.
    """
    _refuse_existing(home)
    addresses = []
    identities = []
    for miner in miners:
        key = Path("keys") / f"{miner.name}.json"
        if not (home / key).exists():
            write_keystore(home / key)
        addresses.append(public_part(home / key)[0])
        (home / miner.data).mkdir(parents=True, exist_ok=True)
        further = f"password_file = {toml(_set_apart(home, key, passwords))}\n" if passwords else ""
        words = {"name": toml(miner.name), "key": toml(key), "data": toml(miner.data)}
        identities.append(_IDENTITY.format(**words, further=further))
    (home / "fleet.toml").write_text(
        _FLEET.format(
            backend=toml(consortium.backend if consortium else "http://127.0.0.1:3000"),
            publishers=toml([consortium.publisher.address] if consortium else []),
            aggregators=toml([consortium.aggregator.address] if consortium else []),
            miners=toml(consortium.miners if consortium else []),
            identities="\n".join(identities),
            extra=extra,
        )
    )
    return addresses


def create_party_home(home: Path, role: str, settings: dict[str, object]) -> None:
    """Makes the home of a publisher, an aggregator or a backend, or writes its settings anew (its key stays)."""
    home.mkdir(parents=True, exist_ok=True)
    lines = "".join(f"{name} = {toml(value)}\n" for name, value in settings.items())
    write_private(home / "fleet.toml", _PARTY.format(role=role, role_text=toml(role), settings=lines))


def toml(value: object) -> str:
    """A TOML value of a text, path, number, truth value or list; JSON's texts and lists are TOML's too."""
    return json.dumps(str(value) if isinstance(value, Path) else value)


def write_private(path: Path, text: str) -> None:
    """Writes a file that only its owner may read."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)


def _set_apart(home: Path, key: Path, passwords: Path) -> Path:
    """Moves a keystore's password into a folder of its own; returns its place in the home."""
    place = passwords / key.with_suffix(".password").name
    (home / passwords).mkdir(parents=True, exist_ok=True)
    (home / key).with_suffix(".password").rename(home / place)
    return place


def _refuse_existing(home: Path) -> None:
    if (home / "fleet.toml").exists():
        raise Misconfigured(f"{home / 'fleet.toml'} is there already; edit it, or choose another folder with --home")
    home.mkdir(parents=True, exist_ok=True)
