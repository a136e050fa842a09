"""Small discrete logarithms to the base H: baby steps and giant steps, both signs at once.

A table holds x(jH) -> j for 1 <= j <= t; x(-jH) is the same, so it answers for |v| <= t. Giant steps of 2t + 1 take a point S
to S -+ i(2t+1)H for i = 1, 2, ... Steps are made for all points that are not solved yet, with one inversion a step.
"""

import math
from collections.abc import Sequence

from pipeline.curve.affine import Point, add_pairs, negated
from pipeline.curve.generators import H33, affine

#: About 100 bytes an entry: 50 MB at most.
MAX_TABLE = 2**19
MIN_TABLE = 2**10


class Logarithms:
    """The table, grown by need and kept."""

    def __init__(self) -> None:
        self._h = affine(H33)
        #: jH at index j - 1.
        self._multiples: list[tuple[int, int]] = [self._h]
        self._index = {self._h[0]: 1}

    def solve(self, points: Sequence[Point], bound: int) -> list[int | None]:
        """v with v*H == point and |v| <= bound for each point, or None."""
        self._grow(_table_size(bound, len(points)))
        found: list[int | None] = [self._look_up(point) for point in points]
        open_ = [index for index, value in enumerate(found) if value is None]
        size = len(self._multiples)
        stride = _only(add_pairs([self._doubled(size)], [self._h]))
        step: Point = stride
        reach = size
        for giant in range(1, bound // (2 * size + 1) + 2):
            if not open_ or reach >= bound:
                break
            shift = giant * (2 * size + 1)
            targets = [points[index] for index in open_]
            for sign, moved in ((1, negated(step)), (-1, step)):
                for index, point in zip(open_, add_pairs(targets, [moved] * len(open_)), strict=True):
                    rest = self._look_up(point)
                    if rest is not None and found[index] is None:
                        found[index] = rest + sign * shift
            open_ = [index for index in open_ if found[index] is None]
            reach = shift + size
            step = _only(add_pairs([step], [stride]))
        return [value if value is not None and abs(value) <= bound else None for value in found]

    def _look_up(self, point: Point) -> int | None:
        if point is None:
            return 0
        j = self._index.get(point[0])
        if j is None:
            return None
        return j if self._multiples[j - 1][1] == point[1] else -j

    def _doubled(self, j: int) -> Point:
        point = self._multiples[j - 1]
        return _only(add_pairs([point], [point]))

    def _grow(self, size: int) -> None:
        """Doubles the table by adding its last entry to every entry, until it has `size` entries."""
        while len(self._multiples) < size:
            have = len(self._multiples)
            last = self._multiples[-1]
            more = add_pairs(self._multiples, [last] * have)
            for offset, point in enumerate(more, start=have + 1):
                assert point is not None
                self._multiples.append(point)
                self._index[point[0]] = offset


def _table_size(bound: int, points: int) -> int:
    """The table that balances its making against the giant steps of all points, a power of two."""
    balanced = math.isqrt(max(bound, 1) * max(points, 1) // 2) + 1
    wanted = min(max(balanced, MIN_TABLE), MAX_TABLE, max(bound, 1))
    return 1 << (wanted - 1).bit_length() if wanted > 1 else 1


def _only(points: list[Point]) -> Point:
    return points[0]
