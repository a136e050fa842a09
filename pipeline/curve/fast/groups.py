"""Sums of many points into many groups at once: a tree of batch additions over all groups together."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numpy.typing import NDArray

from pipeline.curve.contract import P, Points
from pipeline.curve.fast.adder import Adder
from pipeline.curve.fast.cache import Compiler
from pipeline.curve.fast.emission import I1, offset, pointer, routine
from pipeline.curve.fast.field import Builder
from pipeline.curve.fast.field_scalar import I256
from pipeline.curve.fast.memory import empty_points

Indices = NDArray[np.int32]
Offsets = NDArray[np.int64]


class GroupSums:
    """Group g has the members order[offsets[g] : offsets[g+1]], indices 2 * entry + (1 to subtract it)."""

    def __init__(self, adder: Adder, compiler: Compiler) -> None:
        self._adder = adder
        self._pair_up, self._collect = _make_rounds(compiler)

    def sums(self, points: Points, order: Indices, offsets: Offsets) -> Points:
        """The sums of the groups; (0, 0) for an empty one. Every round halves the groups."""
        while len(offsets) > 1 and np.diff(offsets).max(initial=0) > 1:
            sizes = np.diff(offsets)
            pairs, singles = int((sizes // 2).sum()), int((sizes % 2).sum())
            left, right, rest = np.empty(pairs, np.int32), np.empty(pairs, np.int32), np.empty(singles, np.int32)
            following = np.empty(pairs + singles, np.int32)
            following_offsets = np.empty_like(offsets)
            self._pair_up(order, offsets, left, right, rest, following, following_offsets)
            summed = empty_points(pairs + singles)
            self._adder.pairs(points, left, points, right, out=summed[:pairs])
            self._collect(points, rest, summed[pairs:])
            points, order, offsets = summed, following, following_offsets
        out = empty_points(len(offsets) - 1)
        out[:] = 0
        filled = np.diff(offsets) > 0
        last = empty_points(len(order))
        self._collect(points, order, last)
        out[filled] = last
        return out


def _make_rounds(
    compiler: Compiler,
) -> tuple[
    Callable[[Indices, Offsets, Indices, Indices, Indices, Indices, Offsets], None],
    Callable[[Points, Indices, Points], None],
]:
    copy_signed = routine("copy_signed", 3, _copy_signed)

    def pair_up(
        order: Indices,
        offsets: Offsets,
        left: Indices,
        right: Indices,
        rest: Indices,
        following: Indices,
        following_offsets: Offsets,
    ) -> None:
        """Pairs neighbours of a group; the next round's points are all sums of pairs, then all that were left over."""
        pair = 0
        single = 0
        place = 0
        following_offsets[0] = 0
        for group in range(len(offsets) - 1):
            position = offsets[group]
            end = offsets[group + 1]
            while position + 1 < end:
                left[pair] = order[position]
                right[pair] = order[position + 1]
                following[place] = 2 * pair
                pair += 1
                place += 1
                position += 2
            if position < end:
                rest[single] = order[position]
                following[place] = 2 * (len(left) + single)
                single += 1
                place += 1
            following_offsets[group + 1] = place

    def collect(points: Points, indices: Indices, out: Points) -> None:
        """out[i] = +-points[indices[i]]"""
        for i in range(len(indices)):
            source = np.intp(points.ctypes.data) + (np.intp(indices[i]) >> 1 << 6)
            copy_signed(np.intp(out.ctypes.data) + (i << 6), source, np.intp(indices[i]) & 1)

    return compiler(pair_up), compiler(collect)


def _copy_signed(builder: Builder, arguments: Sequence[Any]) -> None:
    """(out, source, 1 to negate): infinity stays (0, 0)."""
    out, source = (pointer(builder, address) for address in arguments[:2])
    x = builder.load(source, typ=I256, align=8)
    y = builder.load(offset(builder, source, 32), typ=I256, align=8)
    finite = builder.icmp_unsigned("!=", y, ir.Constant(I256, 0))
    negate = builder.and_(builder.trunc(arguments[2], I1), finite)
    builder.store(x, out, align=8)
    y = builder.select(negate, builder.sub(ir.Constant(I256, P), y), y)
    builder.store(y, offset(builder, out, 32), align=8)
