"""`points32` of docs/protocol.md, section 1, both ways."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numpy.typing import NDArray

from pipeline.curve.contract import P, Points
from pipeline.curve.fast.cache import Compiler
from pipeline.curve.fast.decompression import make_lift, workspace_bytes
from pipeline.curve.fast.emission import I64, counted, external, offset, pointer, routine
from pipeline.curve.fast.field import Field
from pipeline.curve.fast.memory import aligned, empty_points
from pipeline.curve.fast.pool import Pool
from pipeline.curve.fast.scalars import I256
from pipeline.errors import Malformed

#: Points that a thread lifts at a time.
CHUNK = 4096
#: Words of x, most significant first.
_ALL_ONES = 2**64 - 1


class Points32:
    """Reads and writes `points32` over one field."""

    def __init__(self, field: Field, compiler: Compiler, pool: Pool) -> None:
        self._field = field
        self._pool = pool
        self._lift = make_lift(field, compiler)
        self._pack = _make_pack(compiler)
        self._local = threading.local()

    def read(self, data: bytes, count: int) -> Points:
        """Decodes `count` points. Raises Malformed, naming the first wrong point."""
        length = 32 * count + -(-count // 8)
        if count < 0 or len(data) != length:
            raise Malformed(f"points: expected {length} bytes for {count} points, got {len(data)}")
        bits = np.frombuffer(data, np.uint8, offset=32 * count)
        if count % 8 and bits[-1] >> count % 8:
            raise Malformed("points: spare bits are set")
        words = np.frombuffer(data, ">u8", count=4 * count).reshape(count, 4)
        _refuse(_beyond(words), "is not below p")
        points = empty_points(count)

        def job(start: int, stop: int) -> None:
            part = points[start:stop]
            part[:, :4] = words[start:stop, ::-1]
            part[:, 4:] = 0
            part[:, 4] = np.unpackbits(bits[start // 8 : -(-stop // 8)], bitorder="little")[: stop - start]
            self._lift(part, _indices(stop - start, self._field.lanes), self._workspace())

        self._pool.run(count, CHUNK, job)
        _refuse(~points[:, 4:].any(axis=1), "is on no point of the curve")
        return points

    def write(self, points: Points) -> bytes:
        """Encodes points. Raises Malformed at infinity."""
        points = np.ascontiguousarray(points)
        count = len(points)
        out = np.zeros(32 * count + -(-count // 8), np.uint8)
        infinite = self._pack(points, out)
        if infinite >= 0:
            raise Malformed(f"points: infinity at index {infinite}, which has no encoding")
        return out.tobytes()

    def _workspace(self) -> int:
        space = getattr(self._local, "workspace", None)
        if space is None:
            space = self._local.workspace = aligned(workspace_bytes(self._field))
        return int(space.ctypes.data)


def _make_pack(compiler: Compiler) -> Callable[[Points, NDArray[np.uint8]], int]:
    swap_all = routine("swap_all", 3, _swap_all)
    one, zero = np.uint64(1), np.uint64(0)

    def pack(points: Points, out: NDArray[np.uint8]) -> int:
        """Writes points32 over zeros; returns the first infinite point's index, or -1."""
        if len(points) == 0:
            return -1
        swap_all(np.intp(out.ctypes.data), np.intp(points.ctypes.data), len(points))
        bits = 32 * len(points)
        for i in range(len(points)):
            if points[i, 4] & one:
                out[bits + (i >> 3)] |= np.uint8(1 << (i & 7))
            elif points[i, 0] == zero and not points[i].any():
                return i
        return -1

    return compiler(pack)


def _swap_all(builder: ir.IRBuilder, arguments: Sequence[Any]) -> None:
    """(out, points, count): x big-endian."""
    out, points = (pointer(builder, address) for address in arguments[:2])
    swap = external(builder, "llvm.bswap.i256", I256, [I256])
    with counted(builder, arguments[2], [ir.Constant(I64, 0)]) as ((turn,), following):
        x = builder.load(offset(builder, points, builder.shl(turn, ir.Constant(I64, 6))), typ=I256, align=8)
        target = offset(builder, out, builder.shl(turn, ir.Constant(I64, 5)))
        builder.store(builder.call(swap, [x]), target, align=1)
        following.append(builder.add(turn, ir.Constant(I64, 1)))


def _indices(count: int, lanes: int) -> NDArray[np.int32]:
    """Each point in order; the last again until the lanes are full."""
    padded = -(-count // lanes) * lanes
    return np.minimum(np.arange(padded, dtype=np.int32), count - 1) << np.int32(1)


def _beyond(words: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """x >= p; p has three words of ones above its lowest."""
    high = (words[:, 0] == _ALL_ONES) & (words[:, 1] == _ALL_ONES) & (words[:, 2] == _ALL_ONES)
    beyond: NDArray[np.bool_] = high & (words[:, 3] >= P % 2**64)
    return beyond


def _refuse(wrong: Any, reason: str) -> None:
    if wrong.any():
        raise Malformed(f"points: x at index {int(wrong.argmax())} {reason}")
