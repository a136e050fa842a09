"""Between Python integers, wire bytes and the word arrays of the contract."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.curve.contract import Points, Scalars, Weights
from pipeline.errors import Malformed


def ints_to_words(values: Iterable[int], words: int) -> NDArray[np.uint64]:
    """Integers below 2^(64*words) as uint64[n, words], little-endian words."""
    raw = b"".join(value.to_bytes(8 * words, "little") for value in values)
    return np.frombuffer(raw, dtype="<u8").reshape(-1, words).copy()


def words_to_ints(array: NDArray[np.uint64]) -> list[int]:
    """The inverse of `ints_to_words`."""
    width = array.shape[1] * 8
    raw = np.ascontiguousarray(array, dtype="<u8").tobytes()
    return [int.from_bytes(raw[start : start + width], "little") for start in range(0, len(raw), width)]


def words_from_big_endian(data: bytes, width: int) -> NDArray[np.uint64]:
    """Big-endian integers of `width` bytes (a multiple of 8) as uint64[n, width/8]. Raises ValueError on a broken length."""
    if len(data) % width:
        raise ValueError(f"{len(data)} bytes are no whole number of {width}-byte words")
    return np.frombuffer(data, dtype=">u8").reshape(-1, width // 8)[:, ::-1].astype("<u8", order="C")


def big_endian(scalars: Scalars) -> bytes:
    """Scalars as 32 big-endian bytes each."""
    return np.ascontiguousarray(scalars[:, ::-1]).astype(">u8").tobytes()


def weights_from_stream(data: bytes) -> Weights:
    """16-byte big-endian words as the contract's weights."""
    return words_from_big_endian(data, 16)


def split_points32(data: bytes, count: int) -> tuple[bytes, NDArray[np.bool_]]:
    """The x coordinates and the odd flags of `points32`. Raises Malformed: another length, spare bits that are set."""
    expected = 32 * count + (count + 7) // 8
    if len(data) != expected:
        raise Malformed(f"points: wrong length, expected {expected} bytes for {count} points, got {len(data)}")
    bits = np.unpackbits(np.frombuffer(data, dtype=np.uint8, offset=32 * count), bitorder="little")
    if bits[count:].any():
        raise Malformed("points: spare sign bits are set")
    return data[: 32 * count], bits[:count].astype(np.bool_)


def join_points32(points: Points) -> bytes:
    """Encodes `points32`. Raises Malformed at infinity."""
    infinite = np.flatnonzero(~points.any(axis=1))
    if len(infinite):
        raise Malformed(f"points: point {infinite[0]} is at infinity, which has no encoding")
    odd = (points[:, 4] & np.uint64(1)).astype(np.uint8)
    return big_endian(points[:, :4]) + np.packbits(odd, bitorder="little").tobytes()


def concatenated(arrays: Sequence[NDArray[np.uint64]], words: int) -> NDArray[np.uint64]:
    """The arrays after each other; an empty array of the right width for none."""
    return np.concatenate(arrays) if arrays else np.zeros((0, words), dtype=np.uint64)
