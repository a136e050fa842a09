"""Bytes and texts of docs/protocol.md, section 1: hex, keys, points, addresses, bitmaps."""

import hashlib
import math
import re
from collections.abc import Iterable, Sequence

import coincurve
import numpy as np
from Crypto.Hash import keccak as incremental_keccak
from eth_hash.auto import keccak
from numpy.typing import NDArray

from pipeline.curve.contract import Q
from pipeline.errors import Malformed
from pipeline.protocol.file_bytes import Bytes, pieces

PROTOCOL = "ndd-fe/1"
#: Bytes that are hashed at once.
_PIECE = 1024 * 1024
_HEX = re.compile(r"0x(?:[0-9a-f]{2})*")
_PUBLIC_KEY = re.compile(r"(?:0[xX])?([0-9a-fA-F]{64}),(?:0[xX])?([0-9a-fA-F]{64})")
_ADDRESS = re.compile(r"0x[0-9a-f]{40}")


def to_hex(data: bytes) -> str:
    """`0x` and lower case."""
    return "0x" + data.hex()


def from_hex(text: str, size: int | None = None, what: str = "hex") -> bytes:
    """Reads `0x` + lower-case hex of exactly `size` bytes (any, if None). Raises Malformed."""
    if not _HEX.fullmatch(text):
        raise Malformed(f"{what}: expected 0x and lower-case hex, got {text[:80]!r}")
    data = bytes.fromhex(text[2:])
    if size is not None and len(data) != size:
        raise Malformed(f"{what}: expected {size} bytes, got {len(data)}")
    return data


def scalar_from_hex(text: str, what: str = "scalar") -> int:
    """Reads a 32-byte scalar; raises Malformed where it is not below q."""
    value = int.from_bytes(from_hex(text, 32, what), "big")
    if value >= Q:
        raise Malformed(f"{what}: not below the group's order")
    return value


def scalar_to_hex(value: int) -> str:
    """A scalar as 32 big-endian bytes in hex."""
    return to_hex(value.to_bytes(32, "big"))


def address_from_text(text: str, what: str = "address") -> str:
    """Checks `^0x[0-9a-f]{40}$` and returns it. Raises Malformed."""
    if not _ADDRESS.fullmatch(text):
        raise Malformed(f"{what}: expected 0x and 40 lower-case hex digits, got {text[:80]!r}")
    return text


def point33_from_public_key(text: str, what: str = "public key") -> bytes:
    """Reads `"x,y"` (two times 64 hex digits) as SEC1 compressed. Raises Malformed where it is no point of the curve."""
    match = _PUBLIC_KEY.fullmatch(text)
    if match is None:
        raise Malformed(f'{what}: expected "x,y", two times 64 hex digits, got {text[:80]!r}')
    try:
        return coincurve.PublicKey(b"\x04" + bytes.fromhex(match[1] + match[2])).format()
    except ValueError:
        raise Malformed(f"{what}: not a point of secp256k1") from None


def public_key_text(point33: bytes) -> str:
    """`"x,y"` of a SEC1 point, 64 lower-case hex digits each, no prefix."""
    raw = checked_point33(point33).format(compressed=False)
    return f"{raw[1:33].hex()},{raw[33:].hex()}"


def checked_point33(point33: bytes, what: str = "point") -> coincurve.PublicKey:
    """Parses a SEC1 compressed point. Raises Malformed."""
    if len(point33) != 33 or point33[0] not in (2, 3):
        raise Malformed(f"{what}: expected a SEC1 compressed point of 33 bytes")
    try:
        return coincurve.PublicKey(point33)
    except ValueError:
        raise Malformed(f"{what}: not a point of secp256k1") from None


def address_of(point33: bytes) -> str:
    """Last 20 bytes of keccak256(x || y), as `0x` + lower-case hex."""
    return to_hex(keccak(checked_point33(point33).format(compressed=False)[1:])[12:])


def keccak256(data: bytes) -> bytes:
    """Keccak-256 (Ethereum's, not SHA3-256)."""
    return keccak(data)


def keccak256_of(data: Bytes) -> bytes:
    """The same of what may lie on disk: read a piece at a time."""
    return keccak256_pieces(pieces(data))


def keccak256_pieces(parts: Iterable[bytes | memoryview]) -> bytes:
    """The same of pieces that are joined."""
    # Not eth-hash's own object: it keeps all that it was ever given.
    state = incremental_keccak.new(digest_bits=256)
    for part in parts:
        state.update(bytes(part))
    return state.digest()


def sha256(data: bytes) -> bytes:
    """SHA-256."""
    return hashlib.sha256(data).digest()


def ceil_ratio(ratio: float, dimension: int) -> int:
    """k = ceil(ratio * d) in IEEE double: with ratio 0.07 and d 100 that is 8."""
    return math.ceil(ratio * dimension)


def bitmap_from_indices(indices: NDArray[np.int64] | Sequence[int], dimension: int) -> bytes:
    """Bitmap of `dimension` bits, bit j of byte j//8 from the low end set for each index."""
    bits = np.zeros(dimension, dtype=np.uint8)
    bits[np.asarray(indices, dtype=np.int64)] = 1
    return np.packbits(bits, bitorder="little").tobytes()


def indices_from_bitmap(bitmap: bytes, dimension: int, what: str = "bitmap") -> NDArray[np.int64]:
    """Ascending indices of the set bits. Raises Malformed: another length, spare bits that are set."""
    indices, found = np.empty(count_bits(bitmap, dimension, what), dtype=np.int64), 0
    data = np.frombuffer(bitmap, dtype=np.uint8)
    for at in range(0, len(data), _PIECE):
        part = np.flatnonzero(np.unpackbits(data[at : at + _PIECE], bitorder="little"))
        indices[found : found + len(part)] = part
        indices[found : found + len(part)] += 8 * at
        found += len(part)
    return indices


def count_bits(bitmap: Bytes, dimension: int, what: str = "bitmap") -> int:
    """How many bits are set, a piece at a time. Raises Malformed as `indices_from_bitmap`."""
    if len(bitmap) != (dimension + 7) // 8:
        raise Malformed(f"{what}: expected {(dimension + 7) // 8} bytes for {dimension} bits, got {len(bitmap)}")
    if dimension % 8 and bitmap[len(bitmap) - 1 :][0] >> dimension % 8:
        raise Malformed(f"{what}: spare bits are set")
    counts = (np.bitwise_count(np.frombuffer(piece, dtype=np.uint8)) for piece in pieces(bitmap))
    return sum(int(count.sum(dtype=np.int64)) for count in counts)
