"""sum of weights[i] * points[i] (Pippenger): points into buckets by a window of their weight's bits, buckets summed as groups.

All windows' buckets are summed in one tree. A window's buckets b = 1, 2, ... count b times. In place of the usual running sum, which is one addition after the other, bits of b
are grouped too: first the buckets by their high and by their low bits, then those by single bits. What is left is one point for
each bit of the weights, for Horner's rule.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.curve.contract import Points, Weights
from pipeline.curve.fast.cache import Compiler
from pipeline.curve.fast.groups import GroupSums, Indices, Offsets
from pipeline.curve.fast.single import Point, add, from_points, horner, to_points

BITS = 128
#: Points of one pass: bounds its memory to some 80 MiB. More would hardly save additions.
PASS = 2**17


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
        positions = range(0, BITS, width)
        sizes = [_buckets(position, width) for position in positions]
        order, offsets = np.empty(len(points) * len(sizes), np.int32), np.zeros(sum(sizes) + 1, np.int64)
        carry, digits = np.zeros(len(points), np.uint8), np.empty(len(points), np.int32)
        first = filled = 0
        for position, size in zip(positions, sizes, strict=True):
            part = offsets[first : first + size + 1]
            last = position + width >= BITS
            bits = min(width, BITS - position)
            self._sort(weights, position, bits, last, carry, digits, order[filled:], part)
            part += filled
            first, filled = first + size, int(part[-1])
        buckets = self._groups.sums(points, order[:filled], offsets)
        return horner(self._bits(buckets, np.diff(offsets) > 0, positions, sizes))

    def _bits(
        self, buckets: Points, filled: NDArray[np.bool_], positions: Sequence[int], sizes: Sequence[int]
    ) -> list[Point]:
        """For each bit of the weights, the sum of the buckets whose number has it set."""
        halves: list[NDArray[np.int64]] = []
        numbers: list[NDArray[np.int64]] = []
        places: list[NDArray[np.int64]] = []
        groups = 0
        for position, size in zip(positions, sizes, strict=True):
            bits = (size - 1).bit_length()
            low = bits // 2
            bucket = np.arange(size)
            halves.append(groups + np.stack([bucket & (2**low - 1), 2**low + (bucket >> low)], axis=1))
            numbers += [np.arange(2**low), np.arange(2 ** (bits - low)) << low]
            places.append(np.full(2**low + 2 ** (bits - low), position))
            groups += 2**low + 2 ** (bits - low)
        group = np.concatenate(halves)[filled]
        members = np.repeat(np.flatnonzero(filled), 2)
        summed = self._groups.sums(buckets, *_grouped(group.ravel(), members, groups))
        # Now single bits: half h stands for the number `number`, its bits from `place` on.
        number, place = np.concatenate(numbers), np.concatenate(places)
        half, bit = np.nonzero(number[:, None] >> np.arange(BITS // 4) & 1)
        some = np.asarray(summed.any(axis=1))[half]
        half, bit = half[some], bit[some]
        return from_points(self._groups.sums(summed, *_grouped(place[half] + bit, half, BITS + 1)))


def best_width(count: int) -> int:
    """The window with the fewest additions: each point once a window, each bucket twice."""
    return min(range(2, 17), key=lambda width: -(-BITS // width) * (count + 2 ** (width + 1)))


def _buckets(position: int, width: int) -> int:
    """Buckets of a window, 0 included. Signed digits halve them; the last window has no sign but a carry."""
    if position + width < BITS:
        return int(2 ** (width - 1)) + 1
    return int(2 ** (BITS - position)) + 1


def _grouped(group: NDArray[np.int64], members: NDArray[np.int64], count: int) -> tuple[Indices, Offsets]:
    """The members sorted by the number of their group."""
    sorting = np.argsort(group, kind="stable")
    order = members[sorting].astype(np.int32) << np.int32(1)
    return order, np.searchsorted(group[sorting], np.arange(count + 1)).astype(np.int64)


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
        # The last window keeps its sign: nothing is above this limit.
        whole = 1 << width
        half = 2 * whole if last else whole // 2
        offsets[:] = 0
        for i in range(len(weights)):
            content = weights[i, word] >> shift
            if spills:
                content |= weights[i, 1] << rest
            digit = np.int64(content & mask) + np.int64(carry[i])
            # No branch: half of all digits are above, and nobody could predict which.
            over = np.int64(digit > half)
            digit -= over * whole
            carry[i] = np.uint8(over)
            digits[i] = digit
            offsets[abs(digit)] += 1
        offsets[0] = 0
        total = 0
        for bucket in range(len(offsets)):
            here = offsets[bucket]
            offsets[bucket] = total
            total += here
        for i in range(len(weights)):
            digit = np.int64(digits[i])
            if digit != 0:
                order[offsets[abs(digit)]] = 2 * i + np.int64(digit < 0)
                offsets[abs(digit)] += 1
        for bucket in range(len(offsets) - 1, 0, -1):
            offsets[bucket] = offsets[bucket - 1]
        offsets[0] = 0

    return compiler(sort)
