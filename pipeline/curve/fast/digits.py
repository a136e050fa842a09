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
from pipeline.curve.fast.emission import I64, counted, offset, pointer, routine
from pipeline.curve.fast.field import Builder
from pipeline.curve.fast.scalars import I256, below_q

I257 = ir.IntType(257)


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

    #: (scalars, 1 to negate them, 2^L - 1 mod q, first, width, count, scratch like scalars, indices)
    masks: Callable[[Scalars, int, NDArray[np.uint64], int, int, int, Scalars, NDArray[np.int32]], None]
    #: (values, bias, bits of a window, windows, first row, indices)
    values: Callable[[NDArray[np.int64], int, int, int, int, NDArray[np.int32]], None]


def make_recoding(compiler: Compiler) -> Recoding:
    """The loops, the same for every field implementation."""
    halves = routine("halves", 5, _halves)
    one = np.uint64(1)

    def masks(
        scalars: Scalars,
        negate: int,
        ones: NDArray[np.uint64],
        first: int,
        width: int,
        count: int,
        scratch: Scalars,
        indices: NDArray[np.int32],
    ) -> None:
        number = len(scalars)
        if number == 0:
            return
        halves(np.intp(scratch.ctypes.data), np.intp(scalars.ctypes.data), np.intp(ones.ctypes.data), negate, number)
        content = (one << np.uint64(first)) - one
        for i in range(number):
            indices[0, i] = np.int32((scratch[i, 0] & content) << one)
        content = (one << np.uint64(width)) - one
        entry = np.uint32((1 << (width - 1)) - 1)
        for window in range(1, count):
            position = first + (window - 1) * width
            word = position >> 6
            shift = np.uint64(position & 63)
            rest = np.uint64(64) - shift
            spills = (position & 63) + width > 64 and word < 3
            for i in range(number):
                bits = scratch[i, word] >> shift
                if spills:
                    bits |= scratch[i, word + 1] << rest
                u = np.uint32(bits & content)
                minus = np.uint32(1) - (u >> np.uint32(width - 1))
                indices[window, i] = np.int32((((u ^ (np.uint32(0) - minus)) & entry) << np.uint32(1)) | minus)

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
    """(out, scalars, ones, 1 to negate, count): (+-k + ones) / 2 mod q."""
    out, scalars, added = (pointer(builder, address) for address in arguments[:3])
    order = ir.Constant(I256, Q)
    addend = builder.load(added, typ=I256, align=8)
    negate = builder.icmp_unsigned("!=", arguments[3], ir.Constant(I64, 0))
    with counted(builder, arguments[4], [ir.Constant(I64, 0)]) as ((turn,), following):
        distance = builder.shl(turn, ir.Constant(I64, 5))
        scalar = builder.load(offset(builder, scalars, distance), typ=I256, align=8)
        # q stands for zero here; the sum's reduction settles it.
        scalar = builder.select(negate, builder.sub(order, scalar), scalar)
        total = builder.zext(
            below_q(builder, builder.add(builder.zext(scalar, I257), builder.zext(addend, I257))), I257
        )
        odd = builder.icmp_unsigned("!=", builder.and_(total, ir.Constant(I257, 1)), ir.Constant(I257, 0))
        total = builder.add(total, builder.select(odd, ir.Constant(I257, Q), ir.Constant(I257, 0)))
        half = builder.trunc(builder.lshr(total, ir.Constant(I257, 1)), I256)
        builder.store(half, offset(builder, out, distance), align=8)
        following.append(builder.add(turn, ir.Constant(I64, 1)))
