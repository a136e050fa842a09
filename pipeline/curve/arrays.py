"""Between wire bytes (big-endian), Python ints and the arrays of a kernel (little-endian words)."""

from collections.abc import Iterable

import coincurve
import numpy as np
from numpy.typing import NDArray

from pipeline.curve.contract import Points
from pipeline.errors import Malformed

Words = NDArray[np.uint64]


def words_from_bytes(data: bytes, words: int) -> Words:
    """Big-endian integers of 8 * `words` bytes each, as uint64[n, words]."""
    return np.frombuffer(data, dtype=">u8").reshape(-1, words)[:, ::-1].astype(np.uint64)


def bytes_from_words(array: Words) -> bytes:
    """The reverse of `words_from_bytes`."""
    return array[:, ::-1].astype(">u8").tobytes()


def words_from_ints(values: Iterable[int], words: int) -> Words:
    """Integers 0 <= v < 2^(64 * words), as uint64[n, words]."""
    return words_from_bytes(b"".join(value.to_bytes(8 * words, "big") for value in values), words)


def ints_from_words(array: Words) -> list[int]:
    """The reverse of `words_from_ints`."""
    size, raw = 8 * array.shape[1], bytes_from_words(array)
    return [int.from_bytes(raw[at : at + size], "big") for at in range(0, len(raw), size)]


def points_from_xy(data: bytes) -> Points:
    """Points from x || y, 32 big-endian bytes each; 64 zero bytes are infinity. Nothing is checked."""
    return words_from_bytes(data, 4).reshape(-1, 8)


def xy_from_points(points: Points) -> bytes:
    """The reverse of `points_from_xy`."""
    return bytes_from_words(points.reshape(-1, 4))


def point_from_point33(point33: bytes) -> Points:
    """One SEC1 compressed point, shape [1, 8]. Raises Malformed where it is none."""
    try:
        return points_from_xy(coincurve.PublicKey(point33).format(compressed=False)[1:])
    except ValueError:
        raise Malformed("point: not a SEC1 compressed point of secp256k1") from None


def point33_from_point(point: Points) -> bytes:
    """SEC1 compressed form of one point, shape [1, 8]. Raises Malformed at infinity, which has no encoding."""
    if not point.any():
        raise Malformed("a point at infinity, which has no encoding")
    raw = xy_from_points(point)
    return bytes([2 + (raw[63] & 1)]) + raw[:32]
