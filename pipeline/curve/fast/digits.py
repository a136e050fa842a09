"""Scalars and values as indices into tables. An index is 2 * entry + (1 to subtract it).

Masks: all-odd signed digits. With k' = (k + 2^L - 1) / 2 mod q, k = sum over bits b_i of k' of (2 b_i - 1) 2^i: every bit is a sign,
none is zero. So the window of w bits with content u stands for the odd digit 2u - (2^w - 1), half of the digits are negatives of
the others, and nothing carries from one window to the next.

Values: the windows of value + bias, where the bias makes every window's content u stand for u - 2^(w-1).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir
from numpy.typing import NDArray

from pipeline.curve.contract import Q, Scalars
from pipeline.curve.fast.cache import Compiler
from pipeline.curve.fast.emission import I1, I64, counted, offset, pointer, routine
from pipeline.curve.fast.field import Builder
from pipeline.curve.fast.scalars import I256, sum_below_q

#: Masks that are cut at a time: their words stay in the first-level cache, a word of all in a row, so that loops go by vectors.
BLOCK = 512


@dataclass(frozen=True)
class Windows:
    """How a mask's bits are cut: `first` bits, then `width` bits at a time, `count` windows in all."""

    first: int
    width: int
    count: int

    @staticmethod
    def of(width: int) -> "Windows":
        """The fewest windows of `width` bits that cover 256 bits; the first may have one bit more, where that saves a window."""
        count = -(-255 // width)
        return Windows(256 - width * (count - 1), width, count)

    @property
    def entries(self) -> int:
        """Points in a base's tables: the first has one for every content, the others one for a content and its negative."""
        return (1 << self.first) + (self.count - 1) * (1 << (self.width - 1))


@dataclass(frozen=True)
class Recoding:
    """Compiled loops."""

    #: (scalars, 1 to negate them, 2^L - 1 mod q, first, width, count, indices)
    masks: Callable[[Scalars, int, NDArray[np.uint64], int, int, int, NDArray[np.int32]], None]
    #: (values, bias, bits of a window, windows, first row, indices)
    values: Callable[[NDArray[np.int64], int, int, int, int, NDArray[np.int32]], None]


def make_recoding(compiler: Compiler) -> Recoding:
    """The loops, the same for every field implementation."""
    halves = routine("halves", 5, _halves)
    one = np.uint64(1)
    last = np.uint64(63)

    def masks(
        scalars: Scalars,
        negate: int,
        ones: NDArray[np.uint64],
        first: int,
        width: int,
        count: int,
        indices: NDArray[np.int32],
    ) -> None:
        words = np.empty((4, BLOCK), np.uint64)
        for start in range(0, len(scalars), BLOCK):
            number = min(BLOCK, len(scalars) - start)
            source = np.intp(scalars.ctypes.data) + 32 * start
            halves(np.intp(words.ctypes.data), source, np.intp(ones.ctypes.data), negate, number)
            content = (one << np.uint64(first)) - one
            lowest, row = words[0], indices[0, start : start + number]
            for i in range(number):
                row[i] = np.int32((lowest[i] & content) << one)
            content = (one << np.uint64(width)) - one
            entry = np.uint32((1 << (width - 1)) - 1)
            for window in range(1, count):
                position = first + (window - 1) * width
                shift = np.uint64(position & 63)
                rest = last - shift
                # What the higher word adds to a window that it has no part of is beyond the content.
                lower, higher = words[position >> 6], words[min(3, (position >> 6) + 1)]
                row = indices[window, start : start + number]
                for i in range(number):
                    u = np.uint32(((lower[i] >> shift) | ((higher[i] << one) << rest)) & content)
                    minus = np.uint32(1) - (u >> np.uint32(width - 1))
                    row[i] = np.int32((((u ^ (np.uint32(0) - minus)) & entry) << np.uint32(1)) | minus)

    def values(
        numbers: NDArray[np.int64], bias: int, bits: int, windows: int, row: int, indices: NDArray[np.int32]
    ) -> None:
        content = (1 << bits) - 1
        for window in range(windows):
            for i in range(len(numbers)):
                indices[row + window, i] = np.int32((((numbers[i] + bias) >> (bits * window)) & content) << 1)

    return Recoding(compiler(masks), compiler(values))


def ones(windows: Windows) -> NDArray[np.uint64]:
    """2^L - 1 mod q for the L bits of the windows, as words."""
    bits = windows.first + (windows.count - 1) * windows.width
    return np.frombuffer(((2**bits - 1) % Q).to_bytes(32, "little"), np.uint64).copy()


def _halves(builder: Builder, arguments: Sequence[Any]) -> None:
    """(out, scalars, ones, 1 to negate, count): (+-k + ones) / 2 mod q, word w of number i in out[w, i]."""
    out, scalars, added = (pointer(builder, address) for address in arguments[:3])
    order = ir.Constant(I256, Q)
    addend = builder.load(added, typ=I256, align=8)
    negate = builder.icmp_unsigned("!=", arguments[3], ir.Constant(I64, 0))
    with counted(builder, arguments[4], [ir.Constant(I64, 0)]) as ((turn,), following):
        distance = builder.shl(turn, ir.Constant(I64, 5))
        scalar = builder.load(offset(builder, scalars, distance), typ=I256, align=8)
        # q stands for zero here; the sum's reduction settles it.
        scalar = builder.select(negate, builder.sub(order, scalar), scalar)
        total = sum_below_q(builder, scalar, addend)
        odd = builder.trunc(total, I1)
        carried = builder.select(odd, ir.Constant(I256, (Q + 1) // 2), ir.Constant(I256, 0))
        half = builder.add(builder.lshr(total, ir.Constant(I256, 1)), carried)
        place = offset(builder, out, builder.shl(turn, ir.Constant(I64, 3)))
        for i in range(4):
            word = builder.trunc(builder.lshr(half, ir.Constant(I256, 64 * i)), I64)
            builder.store(word, offset(builder, place, 8 * BLOCK * i), align=8)
        following.append(builder.add(turn, ir.Constant(I64, 1)))
