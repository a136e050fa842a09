"""Content identifiers: version 0 (base58btc) and 1 (base32 or base58btc), of SHA-256 digests, for raw and dag-pb blocks."""

import base64
import binascii
import hashlib
from dataclasses import dataclass

from pipeline.errors import Malformed
from pipeline.parties.ipfs.varint import take_varint, write_varint

RAW, DAG_PB = 0x55, 0x70
_SHA2_256 = b"\x12\x20"
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
#: Characters; a CID of ours has at most 59.
_MAX_TEXT = 100


@dataclass(frozen=True, kw_only=True)
class Cid:
    """Names a block by what it is (`codec`) and by its SHA-256. Equal in version 0 and 1: they name the same block."""

    #: RAW or DAG_PB.
    codec: int
    #: SHA-256 of the block, 32 bytes.
    digest: bytes

    def matches(self, block: bytes) -> bool:
        """Whether these are the block's bytes."""
        return hashlib.sha256(block).digest() == self.digest

    def __str__(self) -> str:
        """Version 1 in base32, the form that gateways want."""
        data = b"\x01" + write_varint(self.codec) + _SHA2_256 + self.digest
        return "b" + base64.b32encode(data).decode().lower().rstrip("=")


def parse_cid(text: str) -> Cid:
    """Reads a CID as people write it. Raises Malformed, saying what is not supported."""
    if not 0 < len(text) <= _MAX_TEXT:
        raise Malformed(f"CID: expected 46 to {_MAX_TEXT} characters, got {len(text)}")
    if len(text) == 46 and text.startswith("Qm"):
        data = _from_base58(text)
    elif text[0] == "z":
        data = _from_base58(text[1:])
    elif text[0] == "b":
        data = _from_base32(text[1:])
    else:
        raise Malformed(f"CID {text!r}: expected Qm.. (version 0), b.. (base32) or z.. (base58btc)")
    cid, end = take_cid(data, 0)
    if end != len(data):
        raise Malformed(f"CID {text!r}: {len(data) - end} bytes too many")
    return cid


def take_cid(data: bytes, position: int) -> tuple[Cid, int]:
    """Reads a binary CID; returns it and the position behind it. Raises Malformed."""
    codec = DAG_PB
    if data[position : position + 2] != _SHA2_256:
        version, position = take_varint(data, position, "CID")
        if version != 1:
            raise Malformed(f"CID: version {version}, expected 0 or 1")
        codec, position = take_varint(data, position, "CID")
    if codec not in (RAW, DAG_PB):
        raise Malformed(f"CID: codec 0x{codec:x}, expected raw (0x55) or dag-pb (0x70): a file as `ipfs add` writes it")
    if data[position : position + 2] != _SHA2_256:
        raise Malformed("CID: its hash is not SHA-256 of 32 bytes, the only one that is read here")
    digest = data[position + 2 : position + 34]
    if len(digest) != 32:
        raise Malformed("CID: ends within its digest")
    return Cid(codec=codec, digest=digest), position + 34


def _from_base58(text: str) -> bytes:
    number = 0
    for character in text:
        value = _BASE58.find(character)
        if value < 0:
            raise Malformed(f"CID: {character!r} is no digit of base58btc")
        number = number * 58 + value
    zeros = len(text) - len(text.lstrip("1"))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")


def _from_base32(text: str) -> bytes:
    try:
        data = base64.b32decode(text.upper() + "=" * (-len(text) % 8))
    except (binascii.Error, ValueError):
        raise Malformed("CID: is no base32") from None
    if base64.b32encode(data).decode().lower().rstrip("=") != text:
        raise Malformed("CID: is no canonical base32 (lower case, spare bits zero)")
    return data
