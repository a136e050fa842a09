"""The reference kernel: libsecp256k1 through coincurve, one call an operation. Slow, plain, and what the fast ones are held to."""

from collections.abc import Sequence

import coincurve
import numpy as np
from numpy.typing import NDArray

from pipeline.curve.affine import Point, add_pairs, negated
from pipeline.curve.contract import MAX_VALUE, P, Points, Q, Scalars, Weights
from pipeline.curve.generators import H33, affine, lift_x
from pipeline.curve.logarithm import Logarithms
from pipeline.curve.words import ints_to_words, join_points32, split_points32, words_from_big_endian, words_to_ints
from pipeline.errors import Malformed


class ReferenceKernel:
    """`contract.Kernel` on coincurve and Python integers."""

    name = "reference"

    def __init__(self) -> None:
        self._logarithms = Logarithms()

    def reduce(self, words: bytes) -> Scalars:
        return ints_to_words((value % Q for value in words_to_ints(words_from_big_endian(words, 32))), 4)

    def add_scalars(self, terms: Sequence[Scalars]) -> Scalars:
        columns = zip(*(words_to_ints(term) for term in terms), strict=True)
        return ints_to_words((sum(column) % Q for column in columns), 4)

    def dot(self, weights: Weights, scalars: Scalars) -> int:
        pairs = zip(words_to_ints(weights), words_to_ints(scalars), strict=True)
        return int(sum(weight * scalar for weight, scalar in pairs)) % Q

    def dot_values(self, weights: Weights, values: NDArray[np.int64]) -> int:
        pairs = zip(words_to_ints(weights), values.tolist(), strict=True)
        return int(sum(weight * value for weight, value in pairs)) % Q

    def encrypt(self, base: bytes, masks: Scalars, values: NDArray[np.int64]) -> Points:
        if len(values) and int(np.abs(values).max()) > MAX_VALUE:
            raise ValueError("a value is beyond 2^40")
        masked = [_multiple(base, mask) for mask in words_to_ints(masks)]
        carried = [_multiple(H33, int(value) % Q) for value in values]
        return _to_words(add_pairs(masked, carried))

    def read_points32(self, data: bytes, count: int) -> Points:
        xs, odd = split_points32(data, count)
        points: list[Point] = []
        for index in range(count):
            x = int.from_bytes(xs[32 * index : 32 * index + 32], "big")
            if x >= P:
                raise Malformed(f"points: x of point {index} is not below p")
            y = lift_x(x)
            if y is None:
                raise Malformed(f"points: point {index} is not on the curve")
            points.append((x, y if (y & 1) == odd[index] else P - y))
        return _to_words(points)

    def write_points32(self, points: Points) -> bytes:
        return join_points32(points)

    def weighted_sum(self, points: Points, weights: Weights) -> Points:
        terms = [
            _multiple(_point33(point), weight)
            for point, weight in zip(_from_words(points), words_to_ints(weights), strict=True)
            if point is not None
        ]
        return _to_words([_total(terms)])

    def unmask(self, submissions: Sequence[Points], base: bytes, masks: Scalars) -> Points:
        total: list[Point] = [negated(_multiple(base, mask)) for mask in words_to_ints(masks)]
        for submission in submissions:
            total = add_pairs(total, _from_words(submission))
        return _to_words(total)

    def logarithms(self, points: Points, bound: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        solved = self._logarithms.solve(_from_words(points), bound)
        values = np.array([value or 0 for value in solved], dtype=np.int64)
        return values, np.array([value is not None for value in solved], dtype=np.bool_)


def _multiple(point33: bytes, scalar: int) -> Point:
    """scalar * point for 0 <= scalar < q."""
    if scalar == 0:
        return None
    return affine(coincurve.PublicKey(point33).multiply(scalar.to_bytes(32, "big")).format())


def _point33(point: tuple[int, int]) -> bytes:
    return bytes([2 + (point[1] & 1)]) + point[0].to_bytes(32, "big")


def _total(points: list[Point]) -> Point:
    """The sum, by halves."""
    while len(points) > 1:
        if len(points) % 2:
            points.append(None)
        points = add_pairs(points[::2], points[1::2])
    return points[0] if points else None


def _from_words(points: Points) -> list[Point]:
    pairs = zip(words_to_ints(points[:, :4]), words_to_ints(points[:, 4:]), strict=True)
    return [(x, y) if x or y else None for x, y in pairs]


def _to_words(points: Sequence[Point]) -> Points:
    xs = ints_to_words((point[0] if point else 0 for point in points), 4)
    ys = ints_to_words((point[1] if point else 0 for point in points), 4)
    return np.hstack([xs, ys])
