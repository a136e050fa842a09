"""`points32` of PROTOCOL.md section 1, both ways."""

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.curve.contract import P, Points
from pipeline.curve.fast.cache import Compiler
from pipeline.curve.fast.decompression import make_lift, workspace_bytes
from pipeline.curve.fast.field import Field
from pipeline.curve.fast.memory import aligned, empty_points
from pipeline.curve.fast.pool import Pool
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
        self._local = threading.local()

    def read(self, data: bytes, count: int) -> Points:
        """Decodes `count` points. Raises Malformed, naming the first wrong point."""
        length = 32 * count + -(-count // 8)
        if count < 0 or len(data) != length:
            raise Malformed(f"points32 of {count} points has {length} bytes, got {len(data)}")
        bits = np.frombuffer(data, np.uint8, offset=32 * count)
        if count % 8 and bits[-1] >> count % 8:
            raise Malformed("points32: spare bits after the last parity are set")
        words = np.frombuffer(data, ">u8", count=4 * count).reshape(count, 4)
        _refuse(_beyond(words), "x is not below p")
        points = empty_points(count)

        def job(start: int, stop: int) -> None:
            part = points[start:stop]
            part[:, :4] = words[start:stop, ::-1]
            part[:, 4:] = 0
            part[:, 4] = np.unpackbits(bits[start // 8 : -(-stop // 8)], bitorder="little")[: stop - start]
            self._lift(part, _indices(stop - start, self._field.lanes), self._workspace())

        self._pool.run(count, CHUNK, job)
        _refuse(~points[:, 4:].any(axis=1), "x is on no point of the curve")
        return points

    @staticmethod
    def write(points: Points) -> bytes:
        """Encodes points. Raises Malformed at infinity."""
        _refuse(~points.any(axis=1), "infinity has no encoding")
        parity = np.packbits((points[:, 4] & np.uint64(1)).astype(np.uint8), bitorder="little")
        return points[:, 3::-1].astype(">u8").tobytes() + parity.tobytes()

    def _workspace(self) -> int:
        space = getattr(self._local, "workspace", None)
        if space is None:
            space = self._local.workspace = aligned(workspace_bytes(self._field))
        return int(space.ctypes.data)


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
        raise Malformed(f"points32: index {int(wrong.argmax())} of {len(wrong)}: {reason}")
