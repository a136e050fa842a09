"""The reference kernel: libsecp256k1 through coincurve, one call an operation. Slow, and right."""

from collections.abc import Iterable, Sequence

import coincurve
import numpy as np
from numpy.typing import NDArray

from pipeline.curve.affine import Point
from pipeline.curve.arrays import (
    bytes_from_words,
    ints_from_words,
    points_from_xy,
    words_from_bytes,
    words_from_ints,
    xy_from_points,
)
from pipeline.curve.contract import MAX_VALUE, P, Points, Q, Scalars, Weights
from pipeline.curve.generators import H
from pipeline.curve.logarithm import LogarithmTable
from pipeline.errors import Malformed

#: A point, or None for infinity, which libsecp256k1 has no public key for.
_Key = coincurve.PublicKey | None


class ReferenceKernel:
    """`contract.Kernel` on libsecp256k1. Keeps one table of logarithms, at most 12 MiB."""

    name = "reference"

    def __init__(self) -> None:
        self._logarithms = LogarithmTable()

    def reduce(self, words: bytes) -> Scalars:
        """See `Kernel.reduce`. Raises ValueError for another length."""
        if len(words) % 32:
            raise ValueError(f"expected a multiple of 32 bytes, got {len(words)}")
        scalars = words_from_bytes(words, 4)
        # q's top word is all ones, so one word in 2^64 needs a second look.
        for row in np.flatnonzero(scalars[:, 3] == np.uint64(2**64 - 1)):
            scalars[row] = words_from_ints([ints_from_words(scalars[row : row + 1])[0] % Q], 4)[0]
        return scalars

    def add_scalars(self, terms: Sequence[Scalars]) -> Scalars:
        """See `Kernel.add_scalars`."""
        rows = zip(*(ints_from_words(term) for term in terms), strict=True)
        return words_from_ints((sum(row) % Q for row in rows), 4)

    def dot(self, weights: Weights, scalars: Scalars) -> int:
        """See `Kernel.dot`."""
        return _dot(ints_from_words(weights), ints_from_words(scalars))

    def dot_values(self, weights: Weights, values: NDArray[np.int64]) -> int:
        """See `Kernel.dot_values`."""
        return _dot(ints_from_words(weights), values.tolist())

    def encrypt(self, base: bytes, masks: Scalars, values: NDArray[np.int64]) -> Points:
        """See `Kernel.encrypt`. Raises ValueError: lengths that differ, a value beyond 2^40, a base that is no point."""
        if values.size and (values.max() > MAX_VALUE or values.min() < -MAX_VALUE):
            raise ValueError("a value beyond 2^40")
        mask_base, value_base = coincurve.PublicKey(base), coincurve.PublicKey(H)
        pairs = zip(ints_from_words(masks), values.tolist(), strict=True)
        return _points(_sum([_times(mask_base, mask), _times(value_base, value)]) for mask, value in pairs)

    def read_points32(self, data: bytes, count: int) -> Points:
        """See `Kernel.read_points32`."""
        expected = 32 * count + (count + 7) // 8
        if len(data) != expected:
            raise Malformed(f"points: expected {expected} bytes for {count} points, got {len(data)}")
        odd = np.unpackbits(np.frombuffer(data[32 * count :], dtype=np.uint8), bitorder="little")
        if odd[count:].any():
            raise Malformed("points: spare bits are set")
        return _points(_decompress(data[32 * i : 32 * i + 32], int(odd[i]), i) for i in range(count))

    def write_points32(self, points: Points) -> bytes:
        """See `Kernel.write_points32`."""
        infinite = np.flatnonzero(~points.any(axis=1))
        if infinite.size:
            raise Malformed(f"points: infinity at index {infinite[0]}, which has no encoding")
        odd = (points[:, 4] & np.uint64(1)).astype(np.uint8)
        return bytes_from_words(points[:, :4]) + np.packbits(odd, bitorder="little").tobytes()

    def weighted_sum(self, points: Points, weights: Weights) -> Points:
        """See `Kernel.weighted_sum`."""
        pairs = zip(_keys(points), ints_from_words(weights), strict=True)
        return _points([_sum([_times(point, weight) for point, weight in pairs])])

    def unmask(self, submissions: Sequence[Points], base: bytes, masks: Scalars) -> Points:
        """See `Kernel.unmask`."""
        mask_base = coincurve.PublicKey(base)
        columns = [_keys(points) for points in submissions]
        shifts = [_times(mask_base, -mask) for mask in ints_from_words(masks)]
        return _points(_sum(row) for row in zip(shifts, *columns, strict=True))

    def logarithms(self, points: Points, bound: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """See `Kernel.logarithms`. Time grows with the points times bound / T, T the table's length (at most 2^20)."""
        flat = ints_from_words(points.reshape(-1, 4))
        affine: list[Point] = [(x, y) if x or y else None for x, y in zip(flat[::2], flat[1::2], strict=True)]
        values = self._logarithms.find(affine, bound)
        found = np.array([value is not None for value in values], dtype=np.bool_)
        return np.array([value or 0 for value in values], dtype=np.int64), found


def _dot(weights: list[int], factors: list[int]) -> int:
    return sum(weight * factor for weight, factor in zip(weights, factors, strict=True)) % Q


def _times(point: _Key, scalar: int) -> _Key:
    scalar %= Q
    return None if point is None or scalar == 0 else point.multiply(scalar.to_bytes(32, "big"))


def _sum(terms: Iterable[_Key]) -> _Key:
    finite = [term for term in terms if term is not None]
    if len(finite) < 2:
        return finite[0] if finite else None
    try:
        return coincurve.PublicKey.combine_keys(finite)
    except ValueError:
        # Valid keys have one sum that is no key: infinity.
        return None


def _decompress(x: bytes, odd: int, index: int) -> coincurve.PublicKey:
    if int.from_bytes(x, "big") >= P:
        raise Malformed(f"points: x at index {index} is not below p")
    try:
        return coincurve.PublicKey(bytes([2 + odd]) + x)
    except ValueError:
        raise Malformed(f"points: x at index {index} is on no point of the curve") from None


def _points(keys: Iterable[_Key]) -> Points:
    return points_from_xy(b"".join(bytes(64) if key is None else key.format(compressed=False)[1:] for key in keys))


def _keys(points: Points) -> list[_Key]:
    raw = xy_from_points(points)
    rows = (raw[at : at + 64] for at in range(0, len(raw), 64))
    return [coincurve.PublicKey(b"\x04" + row) if any(row) else None for row in rows]
