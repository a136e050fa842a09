"""Signed JSON of a kind (docs/protocol.md, section 1): canonical form, digest, signature, keys."""

from collections.abc import Mapping
from typing import Any, Final, Literal

import coincurve
import rfc8785
from eth_keys import KeyAPI
from eth_keys.backends import CoinCurveECCBackend
from eth_keys.exceptions import BadSignature as EthBadSignature
from eth_keys.exceptions import ValidationError

from pipeline.curve.contract import Q
from pipeline.errors import BadSignature, Malformed
from pipeline.protocol.encodings import address_of, checked_point33, from_hex, keccak256, public_key_text, to_hex

Kind = Literal[
    "task", "submission", "statement", "receipt", "key-request", "key", "block", "vote", "reveal", "settlement", "model"
]
_KEYS: Final = KeyAPI(CoinCurveECCBackend())


def digest_of(kind: Kind, message: Mapping[str, Any]) -> bytes:
    """The 32-byte EIP-191 digest of a message without its own top-level `signature`."""
    return digest_of_body(kind, canonical({name: value for name, value in message.items() if name != "signature"}))


def digest_of_body(kind: Kind, canonical_body: bytes) -> bytes:
    """The digest of bytes that already are the canonical form."""
    body = f"ndd-fe/1 {kind}\n".encode() + canonical_body
    return keccak256(b"\x19Ethereum Signed Message:\n" + str(len(body)).encode() + body)


def canonical(value: Any) -> bytes:
    """RFC 8785 (JCS). Raises Malformed for what JSON cannot hold exactly."""
    try:
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, RecursionError) as error:
        raise Malformed(f"no canonical form: {error}") from None


class SecretKey:
    """A party's secret key. Its `repr` shows the address alone, and it refuses to be pickled."""

    __slots__ = ("_key", "address", "point33")

    def __init__(self, secret: bytes) -> None:
        """`secret`: 32 bytes, a scalar in 1 .. q-1. Raises ValueError otherwise (without showing it)."""
        if len(secret) != 32 or not 0 < int.from_bytes(secret, "big") < Q:
            raise ValueError("a secret key is 32 bytes with a value from 1 to q-1")
        self._key = coincurve.PrivateKey(secret)
        #: SEC1 compressed public key.
        self.point33: bytes = self._key.public_key.format()
        #: `0x` + 40 hex digits.
        self.address: str = address_of(self.point33)

    @classmethod
    def generate(cls) -> "SecretKey":
        """A fresh key from the system's randomness."""
        return cls(coincurve.PrivateKey().secret)

    @property
    def public_key(self) -> str:
        """`"x,y"` as the protocol writes it."""
        return public_key_text(self.point33)

    @property
    def secret(self) -> bytes:
        """The 32 bytes, for the keystore's writer and for `shared_point33`'s callers in tests."""
        return self._key.secret

    def sign(self, kind: Kind, message: Mapping[str, Any]) -> str:
        """The 65-byte signature (r || s || v) of a message, in hex. Deterministic (RFC 6979), low s."""
        signature = _KEYS.PrivateKey(self._key.secret).sign_msg_hash(digest_of(kind, message))
        r_s_v = signature.to_bytes()
        return to_hex(r_s_v[:64] + bytes([r_s_v[64] + 27]))

    def shared_point33(self, point33: bytes) -> bytes:
        """point33(sk * point): the ikm of a mask stream (docs/protocol.md, section 4)."""
        return checked_point33(point33).multiply(self._key.secret).format()

    def __repr__(self) -> str:
        return f"SecretKey({self.address})"

    def __reduce__(self) -> Any:
        raise TypeError("a secret key never leaves its process")


def signer_of(kind: Kind, message: Mapping[str, Any], signature: str) -> str:
    """The address that signed. Raises BadSignature: length, v, r, high s, or nothing recovers."""
    return signer_of_digest(digest_of(kind, message), signature)


def signer_of_digest(digest: bytes, signature: str) -> str:
    """As `signer_of`, for a digest that the caller has."""
    try:
        raw = from_hex(signature, 65, "signature")
    except Malformed as error:
        raise BadSignature(str(error)) from None
    r, s, v = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:64], "big"), raw[64]
    if v not in (27, 28):
        raise BadSignature(f"signature: v must be 27 or 28, got {v}")
    if not 1 <= r < Q or not 1 <= s <= Q // 2:
        raise BadSignature("signature: r or s out of range (a high s is refused)")
    try:
        key = _KEYS.Signature(vrs=(v - 27, r, s)).recover_public_key_from_msg_hash(digest)
    except (EthBadSignature, ValidationError, ValueError):
        raise BadSignature("signature: recovers to no key") from None
    return to_hex(key.to_canonical_address())


def check_signature(kind: Kind, message: Mapping[str, Any], signature: str, address: str, who: str) -> None:
    """Raises BadSignature unless `address` signed."""
    found = signer_of(kind, message, signature)
    if found != address:
        raise BadSignature(f"signature of {who}: expected {address}, recovers to {found}")


def check_embedded_signature(kind: Kind, message: Mapping[str, Any], address: str, who: str) -> None:
    """As `check_signature`, for a message that carries its own `signature` member."""
    signature = message.get("signature")
    if not isinstance(signature, str):
        raise BadSignature(f"signature of {who}: missing")
    check_signature(kind, message, signature, address, who)
