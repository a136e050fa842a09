"""Integers modulo q in arrays. Emitted as LLVM integers of 256 to 448 bits: the compiler does the carries."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir
from numpy.typing import NDArray

from pipeline.curve.contract import Q, Scalars, Weights
from pipeline.curve.fast.cache import Compiler
from pipeline.curve.fast.emission import I1, I64, I128, counted, external, offset, pointer, routine
from pipeline.curve.fast.field import Builder

I256, I257, I320, I448 = (ir.IntType(bits) for bits in (256, 257, 320, 448))
#: Sums that stay in the first-level cache while the terms pass by.
BLOCK = 256
SCALAR = 32
SUM = 40


@dataclass(frozen=True)
class ScalarLoops:
    """Compiled loops over arrays; results go to their last argument."""

    reduce: Callable[[NDArray[np.uint8], Scalars], None]
    #: (addresses of the terms, sums of BLOCK, out)
    add: Callable[[NDArray[np.int64], NDArray[np.uint64], Scalars], None]
    dot: Callable[[Weights, Scalars, NDArray[np.uint64]], None]
    dot_values: Callable[[Weights, NDArray[np.int64], NDArray[np.uint64]], None]


def make_scalar_loops(compiler: Compiler) -> ScalarLoops:
    """The loops, the same for every field implementation."""
    reduce_all = routine("reduce_all", 3, _reduce_all)
    add_pairs = routine("add_pairs", 4, _add_pairs)
    accumulate = routine("accumulate", 3, _accumulate)
    settle = routine("settle", 3, _settle)
    dot_all = routine("dot_all", 4, _dot_all)
    dot_values_all = routine("dot_values_all", 4, _dot_values_all)

    def reduce(words: NDArray[np.uint8], out: Scalars) -> None:
        if len(out):
            reduce_all(np.intp(out.ctypes.data), np.intp(words.ctypes.data), len(out))

    def add(terms: NDArray[np.int64], sums: NDArray[np.uint64], out: Scalars) -> None:
        if len(terms) == 2:
            if len(out):
                add_pairs(np.intp(out.ctypes.data), terms[0], terms[1], len(out))
            return
        for start in range(0, len(out), BLOCK):
            count = min(BLOCK, len(out) - start)
            sums[:] = 0
            for term in terms:
                accumulate(np.intp(sums.ctypes.data), term + start * SCALAR, count)
            settle(np.intp(out.ctypes.data) + start * SCALAR, np.intp(sums.ctypes.data), count)

    def dot(weights: Weights, scalars: Scalars, out: NDArray[np.uint64]) -> None:
        if len(weights):
            dot_all(np.intp(out.ctypes.data), np.intp(weights.ctypes.data), np.intp(scalars.ctypes.data), len(weights))

    def dot_values(weights: Weights, values: NDArray[np.int64], out: NDArray[np.uint64]) -> None:
        if len(weights):
            dot_values_all(
                np.intp(out.ctypes.data), np.intp(weights.ctypes.data), np.intp(values.ctypes.data), len(weights)
            )

    return ScalarLoops(compiler(reduce), compiler(add), compiler(dot), compiler(dot_values))


class ScalarArithmetic:
    """The contract's operations on scalars."""

    def __init__(self, compiler: Compiler) -> None:
        self._loops = make_scalar_loops(compiler)

    def reduce(self, words: bytes) -> Scalars:
        """Reads 32-byte big-endian words modulo q."""
        if len(words) % SCALAR:
            raise ValueError(f"a keystream's length is a multiple of {SCALAR} bytes, not {len(words)}")
        out = np.empty((len(words) // SCALAR, 4), np.uint64)
        self._loops.reduce(np.frombuffer(words, np.uint8), out)
        return out

    def add(self, terms: Sequence[Scalars]) -> Scalars:
        """The sums modulo q, element by element."""
        if not terms:
            raise ValueError("add_scalars takes at least one array")
        if any(term.shape != terms[0].shape for term in terms):
            raise ValueError(f"add_scalars takes arrays of one shape, got {[term.shape for term in terms]}")
        arrays = [np.ascontiguousarray(term, np.uint64) for term in terms]
        out = np.empty(terms[0].shape, np.uint64)
        sums = np.empty(BLOCK * SUM // 8, np.uint64)
        self._loops.add(np.array([array.ctypes.data for array in arrays], np.int64), sums, out)
        return out

    def dot(self, weights: Weights, scalars: Scalars) -> int:
        """sum of weights[i] * scalars[i] modulo q."""
        _same_length(weights, scalars)
        out = np.zeros(7, np.uint64)
        self._loops.dot(np.ascontiguousarray(weights), np.ascontiguousarray(scalars), out)
        return int.from_bytes(out.tobytes(), "little") % Q

    def dot_values(self, weights: Weights, values: NDArray[np.int64]) -> int:
        """sum of weights[i] * values[i] modulo q."""
        _same_length(weights, values)
        out = np.zeros(4, np.uint64)
        self._loops.dot_values(np.ascontiguousarray(weights), np.ascontiguousarray(values, np.int64), out)
        return int.from_bytes(out.tobytes(), "little", signed=True) % Q


def _same_length(weights: Weights, others: NDArray[Any]) -> None:
    if len(weights) != len(others):
        raise ValueError(f"as many weights as items: got {len(weights)} and {len(others)}")


def below_q(builder: Builder, value: Any) -> Any:
    """One subtraction of q where the value (an integer below 2q, of any width) reaches it."""
    order = ir.Constant(value.type, Q)
    return builder.select(builder.icmp_unsigned(">=", value, order), builder.sub(value, order), value)


def sum_below_q(builder: Builder, x: Any, y: Any) -> Any:
    """(x + y) mod q as an i256, for i256 below q (one may be q): the sum reaches q where 2^256 - q more of it reaches 2^256."""
    total = builder.add(builder.zext(x, I257), builder.zext(y, I257))
    low = builder.trunc(total, I256)
    raised = builder.add(builder.zext(low, I257), ir.Constant(I257, 2**256 - Q))
    reaches = builder.trunc(builder.lshr(builder.or_(total, raised), ir.Constant(I257, 256)), I1)
    return builder.select(reaches, builder.trunc(raised, I256), low)


def _item(builder: Builder, base: Any, turn: Any, size: int) -> Any:
    return offset(builder, base, builder.mul(turn, ir.Constant(I64, size)))


def _reduce_all(builder: Builder, arguments: Sequence[Any]) -> None:
    out, words = (pointer(builder, address) for address in arguments[:2])
    swap = external(builder, "llvm.bswap.i256", I256, [I256])
    with counted(builder, arguments[2], [ir.Constant(I64, 0)]) as ((turn,), following):
        word = builder.load(_item(builder, words, turn, SCALAR), typ=I256, align=1)
        builder.store(below_q(builder, builder.call(swap, [word])), _item(builder, out, turn, SCALAR), align=8)
        following.append(builder.add(turn, ir.Constant(I64, 1)))


def _add_pairs(builder: Builder, arguments: Sequence[Any]) -> None:
    """(out, scalars, scalars, count): the sums modulo q."""
    out, left, right = (pointer(builder, address) for address in arguments[:3])
    with counted(builder, arguments[3], [ir.Constant(I64, 0)]) as ((turn,), following):
        terms = [builder.load(_item(builder, base, turn, SCALAR), typ=I256, align=8) for base in (left, right)]
        builder.store(sum_below_q(builder, *terms), _item(builder, out, turn, SCALAR), align=8)
        following.append(builder.add(turn, ir.Constant(I64, 1)))


def _accumulate(builder: Builder, arguments: Sequence[Any]) -> None:
    """(320-bit sums, scalars, count)"""
    sums, scalars = (pointer(builder, address) for address in arguments[:2])
    with counted(builder, arguments[2], [ir.Constant(I64, 0)]) as ((turn,), following):
        place = _item(builder, sums, turn, SUM)
        scalar = builder.load(_item(builder, scalars, turn, SCALAR), typ=I256, align=8)
        total = builder.add(builder.load(place, typ=I320, align=8), builder.zext(scalar, I320))
        builder.store(total, place, align=8)
        following.append(builder.add(turn, ir.Constant(I64, 1)))


def _settle(builder: Builder, arguments: Sequence[Any]) -> None:
    """(scalars, 320-bit sums, count): the sums modulo q, by 2^256 = 2^256 - q."""
    out, sums = (pointer(builder, address) for address in arguments[:2])
    with counted(builder, arguments[2], [ir.Constant(I64, 0)]) as ((turn,), following):
        total = builder.load(_item(builder, sums, turn, SUM), typ=I320, align=8)
        for _ in range(2):
            above = builder.lshr(total, ir.Constant(I320, 256))
            low = builder.zext(builder.trunc(total, I256), I320)
            total = builder.add(low, builder.mul(above, ir.Constant(I320, 2**256 - Q)))
        settled = below_q(builder, builder.trunc(total, I256))
        builder.store(settled, _item(builder, out, turn, SCALAR), align=8)
        following.append(builder.add(turn, ir.Constant(I64, 1)))


def _dot_all(builder: Builder, arguments: Sequence[Any]) -> None:
    """(448-bit sum, weights, scalars, count)"""
    out, weights, scalars = (pointer(builder, address) for address in arguments[:3])
    initial = [ir.Constant(I64, 0), ir.Constant(I448, 0)]
    with counted(builder, arguments[3], initial) as ((turn, total), following):
        scalar = builder.load(_item(builder, scalars, turn, SCALAR), typ=I256, align=8)
        for half in range(2):
            weight = builder.load(offset(builder, _item(builder, weights, turn, 16), 8 * half), typ=I64, align=8)
            product = builder.zext(_times_word(builder, scalar, weight), I448)
            total = builder.add(total, builder.shl(product, ir.Constant(I448, 64 * half)))
        following += [builder.add(turn, ir.Constant(I64, 1)), total]
    builder.store(following[1], out, align=8)


def _times_word(builder: Builder, scalar: Any, word: Any) -> Any:
    """A 256-bit integer times a 64-bit one, in 320 bits."""
    word = builder.zext(word, I128)
    total = ir.Constant(I320, 0)
    for i in range(4):
        part = builder.trunc(builder.lshr(scalar, ir.Constant(I256, 64 * i)), I64)
        product = builder.zext(builder.mul(builder.zext(part, I128), word), I320)
        total = builder.add(total, builder.shl(product, ir.Constant(I320, 64 * i)))
    return total


def _dot_values_all(builder: Builder, arguments: Sequence[Any]) -> None:
    """(signed 256-bit sum, weights, int64 values, count)"""
    out, weights, values = (pointer(builder, address) for address in arguments[:3])
    initial = [ir.Constant(I64, 0), ir.Constant(I256, 0)]
    with counted(builder, arguments[3], initial) as ((turn, total), following):
        value = builder.sext(builder.load(_item(builder, values, turn, 8), typ=I64, align=8), I128)
        for half in range(2):
            weight = builder.load(offset(builder, _item(builder, weights, turn, 16), 8 * half), typ=I64, align=8)
            # |value| <= 2^63 and weight < 2^64: their product fits 128 signed bits.
            product = builder.sext(builder.mul(value, builder.zext(weight, I128)), I256)
            total = builder.add(total, builder.shl(product, ir.Constant(I256, 64 * half)))
        following += [builder.add(turn, ir.Constant(I64, 1)), total]
    builder.store(following[1], out, align=8)
