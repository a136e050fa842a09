"""Logarithms to the base H by baby-step giant-step with the +/- symmetry, on Python ints.

Legend: T entries of the table, x(j*H) for j = 1 .. T; M = 2T + 1 the giant step; R_i = i*M*H. A value is v = +-i*M +- j with
j <= T, and x(P - R_i) and x(P + R_i) come out of one inversion. Small |v| is found first.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from math import isqrt

import coincurve
import numpy as np
from numpy.typing import NDArray

from pipeline.curve.affine import STRIP, Point, invert_all, multiples
from pipeline.curve.contract import P, Q
from pipeline.curve.generators import H

#: Entries: below the first the table is not worth thinking about; the second bounds it to 12 MiB and 3 s of work.
SMALLEST, LARGEST = 2**10, 2**20
#: Pairs (point, giant step) that share an inversion.
_BLOCK = 4096
_LOW = 2**64 - 1


class LogarithmTable:
    """x(j*H) for j = 1 .. T, by its low 64 bits; grows by need and is kept. Hits are checked, so that a false one costs time only."""

    def __init__(self) -> None:
        # One tuple, replaced at once: a thread that searches while another grows sees the old table or the new one.
        self._table: tuple[NDArray[np.uint64], NDArray[np.int64]] = (np.empty(0, np.uint64), np.empty(0, np.int64))

    def find(self, points: list[Point], bound: int) -> list[int | None]:
        """v with v*H == points[i] and |v| <= bound for each i, or None."""
        self._grow(isqrt(max(bound, 0) * max(len(points), 1)))
        slices = (points[at : at + _BLOCK] for at in range(0, len(points), _BLOCK))
        return [value for part in slices for value in self._search(part, bound)]

    def _search(self, points: list[Point], bound: int) -> list[int | None]:
        keys, indices = self._table
        found: dict[int, int] = {at: 0 for at, point in enumerate(points) if point is None}
        open_ = {at: point for at, point in enumerate(points) if point is not None}
        step = 2 * len(keys) + 1
        candidates: Iterable[tuple[int, int, int]] = [(at, 0, x) for at, (x, _) in open_.items()]
        steps = _giant_steps(step, -(-(bound - len(keys)) // step))
        while open_:
            for at, value in _hits(list(candidates), keys, indices):
                if at in open_ and abs(value) <= bound and _is_logarithm(value, open_[at]):
                    found[at] = value
                    del open_[at]
            block = list(islice(steps, max(1, _BLOCK // max(1, len(open_)))))
            if not block:
                break
            candidates = _differences(open_, block)
        return [found.get(at) for at in range(len(points))]

    def _grow(self, wanted: int) -> None:
        """Makes the table at least min(wanted, LARGEST) long, to a power of two of strips."""
        wanted = min(max(wanted, SMALLEST), LARGEST)
        if len(self._table[0]) >= wanted:
            return
        strips = 1 << (-(-wanted // STRIP) - 1).bit_length()
        low = [
            point[0] & _LOW for strip in islice(multiples(_affine(H)), strips) for point in strip if point is not None
        ]
        keys = np.array(low, dtype=np.uint64)
        order = np.argsort(keys, kind="stable")
        self._table = (keys[order], order + 1)


def _giant_steps(step: int, count: int) -> Iterator[tuple[int, tuple[int, int]]]:
    """(i*M, R_i) for i = 1 .. count."""
    if count <= 0:
        return
    base = _affine(coincurve.PublicKey(H).multiply((step % Q).to_bytes(32, "big")).format())
    flat = (point for strip in multiples(base) for point in strip)
    for i, point in enumerate(islice(flat, count), start=1):
        assert point is not None, "i*M is far below q"
        yield i * step, point


def _differences(
    points: dict[int, tuple[int, int]], steps: list[tuple[int, tuple[int, int]]]
) -> Iterator[tuple[int, int, int]]:
    """(at, v0, x(P - v0*H)) for v0 = +-i*M; x = 0, which no point of the curve has, stands for infinity."""
    pairs = [(at, x, y, shift, r) for shift, r in steps for at, (x, y) in points.items()]
    inverses = invert_all([(x - r[0]) % P or 1 for _, x, _, _, r in pairs])
    for (at, x, y, shift, (rx, ry)), inverse in zip(pairs, inverses, strict=True):
        if x == rx:
            yield at, shift if y == ry else -shift, 0
            continue
        minus, plus = (y + ry) * inverse % P, (y - ry) * inverse % P
        yield at, shift, (minus * minus - x - rx) % P
        yield at, -shift, (plus * plus - x - rx) % P


def _hits(
    candidates: list[tuple[int, int, int]], keys: NDArray[np.uint64], indices: NDArray[np.int64]
) -> Iterator[tuple[int, int]]:
    """(at, v) that may be a logarithm: v0 + j and v0 - j where x is in the table, v0 itself where x stands for infinity."""
    low = np.array([x & _LOW for _, _, x in candidates], dtype=np.uint64)
    first = np.searchsorted(keys, low, side="left")
    last = np.searchsorted(keys, low, side="right")
    for row in np.flatnonzero((first < last) | (low == 0)).tolist():
        at, shift, x = candidates[row]
        if x == 0:
            yield at, shift
        for j in indices[first[row] : last[row]].tolist():
            yield at, shift + j
            yield at, shift - j


def _is_logarithm(value: int, point: tuple[int, int]) -> bool:
    if value == 0:
        return False
    return _affine(coincurve.PublicKey(H).multiply((value % Q).to_bytes(32, "big")).format()) == point


def _affine(point33: bytes) -> tuple[int, int]:
    return coincurve.PublicKey(point33).point()
