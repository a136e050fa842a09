"""sum of weights[i] * points[i] (Pippenger): points into buckets by a window of their weight's bits, buckets summed as groups.

A window's buckets b = 1, 2, ... count b times. In place of the usual running sum, which is one addition after the other, bits of b
are grouped too: first the buckets by their high and by their low bits, then those by single bits. What is left is one point for
each bit of the weights, for Horner's rule.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pipeline.curve.contract import Points, Weights
from pipeline.curve.fast.cache import Compiler
from pipeline.curve.fast.groups import GroupSums, Indices, Offsets
from pipeline.curve.fast.single import Point, add, from_points, horner, to_points

BITS = 128
#: Points of one pass: bounds its memory to some 64 MiB.
PASS = 2**19


class WeightedSum:
    """The multi-scalar multiplication over one field's group sums."""

    def __init__(self, groups: GroupSums, compiler: Compiler) -> None:
        self._groups = groups
        self._sort = _make_sort(compiler)

    def __call__(self, points: Points, weights: Weights) -> Points:
        """The sum, shape [1, 8]; (0, 0) is infinity."""
        if len(points) != len(weights):
            raise ValueError(f"as many weights as points: got {len(weights)} and {len(points)}")
        points, weights = np.ascontiguousarray(points), np.ascontiguousarray(weights)
        total: Point = None
        for start in range(0, len(points), PASS):
            total = add(total, self._pass(points[start : start + PASS], weights[start : start + PASS]))
        return to_points([total])

    def _pass(self, points: Points, weights: Weights) -> Point:
        width = best_width(len(points))
        carry = np.zeros(len(points), np.uint8)
        digits = np.empty(len(points), np.int32)
        bits: list[Point] = [None] * (BITS + 1)
        for position in range(0, BITS, width):
            buckets = _buckets(position, width)
            order, offsets = np.empty(len(points), np.int32), np.empty(buckets + 1, np.int64)
            self._sort(
                weights, position, min(width, BITS - position), position + width >= BITS, carry, digits, order, offsets
            )
            sums = self._groups.sums(points, order[: offsets[-1]], offsets)
            for bit, point in enumerate(self._bits(sums)):
                bits[position + bit] = add(bits[position + bit], point)
        return horner(bits)

    def _bits(self, buckets: Points) -> list[Point]:
        """For each bit j, the sum of the buckets whose number has it set."""
        bits = (len(buckets) - 1).bit_length()
        low = bits // 2
        numbers = np.arange(len(buckets))
        halves = self._groups.sums(
            np.concatenate([buckets, buckets]),
            *_grouped(np.concatenate([numbers & (2**low - 1), 2**low + (numbers >> low)]), 2**low + 2 ** (bits - low)),
        )
        numbers = np.concatenate([np.arange(2**low), np.arange(2 ** (bits - low)) << low])
        members = [np.flatnonzero(numbers >> bit & 1) for bit in range(bits)]
        offsets = np.cumsum([0, *(len(member) for member in members)], dtype=np.int64)
        order = np.concatenate([np.empty(0, np.int64), *members]).astype(np.int32) << np.int32(1)
        return from_points(self._groups.sums(halves, order, offsets))


def best_width(count: int) -> int:
    """The window with the fewest additions: each point once a window, each bucket twice."""
    return min(range(2, 17), key=lambda width: -(-BITS // width) * (count + 2 ** (width + 1)))


def _buckets(position: int, width: int) -> int:
    """Buckets of a window, 0 included. Signed digits halve them; the last window has no sign but a carry."""
    if position + width < BITS:
        return int(2 ** (width - 1)) + 1
    return int(2 ** (BITS - position)) + 1


def _grouped(group: NDArray[np.int64], count: int) -> tuple[Indices, Offsets]:
    """Members 0, 1, ... sorted by the number of their group."""
    order = np.argsort(group, kind="stable").astype(np.int32) << np.int32(1)
    return order, np.searchsorted(np.sort(group), np.arange(count + 1)).astype(np.int64)


def _make_sort(
    compiler: Compiler,
) -> Callable[[Weights, int, int, bool, NDArray[np.uint8], NDArray[np.int32], Indices, Offsets], None]:
    def sort(
        weights: Weights,
        position: int,
        width: int,
        last: bool,
        carry: NDArray[np.uint8],
        digits: NDArray[np.int32],
        order: Indices,
        offsets: Offsets,
    ) -> None:
        """Members of each bucket by the window's signed digit, the carry for the next; bucket 0 stays empty.

        offsets[b] .. offsets[b+1] is bucket b; offsets has one more entry than buckets.
        """
        word = position >> 6
        shift = np.uint64(position & 63)
        rest = np.uint64(64) - shift
        spills = (position & 63) + width > 64 and word == 0
        mask = (np.uint64(1) << np.uint64(width)) - np.uint64(1)
        half = 1 << (width - 1)
        offsets[:] = 0
        for i in range(len(weights)):
            content = weights[i, word] >> shift
            if spills:
                content |= weights[i, 1] << rest
            digit = np.int64(content & mask) + np.int64(carry[i])
            carry[i] = 0
            if not last and digit > half:
                digit -= 2 * half
                carry[i] = 1
            digits[i] = digit
            if digit != 0:
                offsets[abs(digit)] += 1
        total = 0
        for bucket in range(len(offsets)):
            here = offsets[bucket]
            offsets[bucket] = total
            total += here
        for i in range(len(weights)):
            digit = np.int64(digits[i])
            if digit != 0:
                order[offsets[abs(digit)]] = 2 * i + (1 if digit < 0 else 0)
                offsets[abs(digit)] += 1
        for bucket in range(len(offsets) - 1, 0, -1):
            offsets[bucket] = offsets[bucket - 1]
        offsets[0] = 0

    return compiler(sort)
