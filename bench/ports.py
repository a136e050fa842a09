"""The port limit: what the multiplications alone would take if the processor did nothing else and never waited."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from llvmlite import ir
from numba import njit

from bench.measure import least
from pipeline.curve.fast.digits import Windows
from pipeline.curve.fast.emission import I64, I128, counted, external, offset, pointer, routine
from pipeline.curve.fast.field_ifma import VECTOR
from pipeline.curve.fast.memory import aligned
from pipeline.curve.fast.multiexp import BITS, best_width

#: Multiplier instructions of (a product, a square) of one group of lanes, and its lanes.
COSTS = {"ifma": ((62, 42), 8), "scalar": ((21, 15), 1)}
#: Squares and products of a square root, with the curve check.
ROOT = (255, 15)
#: Chains of multiplications at the same time, and their length.
CHAINS = 12
TURNS = 200_000


def limits(kernel: str, n: int) -> dict[str, float]:
    """ns per item at the port limit for encrypt, decompress, verify and aggregate (5 submissions) of n items."""
    (product, square), lanes = COSTS[kernel]
    instruction = nanoseconds(kernel) / lanes
    addition = (5 * product + square) * instruction
    columns = Windows.of(16).count
    root = (ROOT[0] * square + ROOT[1] * product) * instruction
    width = best_width(n)
    return {
        "encrypt": (columns + 1) * addition,
        "decompress": root,
        "verify": root + -(-BITS // width) * (1 + 2 ** (width + 1) / n) * addition,
        # Five points and the mask; two windows to verify the logarithm.
        "aggregate": 5 * root + (columns + 4 + 1) * addition,
    }


@cache
def nanoseconds(kernel: str) -> float:
    """ns per multiplier instruction, measured over independent chains."""
    emit = _emit_ifma if kernel == "ifma" else _emit_scalar
    loop = routine(f"port_{kernel}", 2, emit)

    def run(address: int, count: int) -> None:
        loop(address, count)

    compiled: Any = njit(run)
    memory = aligned(64 * CHAINS)
    memory[:] = 0xA5
    return least(lambda: compiled(memory.ctypes.data, TURNS), 7) / TURNS / CHAINS * 1e9


def _emit_ifma(builder: Any, arguments: Sequence[Any]) -> None:
    operation = external(builder, "llvm.x86.avx512.vpmadd52l.uq.512", VECTOR, [VECTOR] * 3)
    _chains(builder, arguments, VECTOR, lambda total: builder.call(operation, [total, total, total]))


def _emit_scalar(builder: Any, arguments: Sequence[Any]) -> None:
    def high(word: Any) -> Any:
        wide = builder.zext(word, I128)
        return builder.trunc(builder.lshr(builder.mul(wide, wide), ir.Constant(I128, 64)), I64)

    _chains(builder, arguments, I64, high)


def _chains(builder: Any, arguments: Sequence[Any], kind: Any, turn: Callable[[Any], Any]) -> None:
    """Independent chains, so that only the ports bound them; from memory and back, so that none is optimised away."""
    memory = pointer(builder, arguments[0])
    places = [offset(builder, memory, 64 * i) for i in range(CHAINS)]
    initial = [builder.load(place, typ=kind, align=8) for place in places]
    with counted(builder, arguments[1], initial) as (current, following):
        following += [turn(value) for value in current]
    for value, place in zip(following, places, strict=True):
        builder.store(value, place, align=8)
