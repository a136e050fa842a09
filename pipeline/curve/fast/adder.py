"""Sums of points in bulk: cuts them into chunks, gives each thread its memory, runs the sweep."""

import threading
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.curve.contract import Points
from pipeline.curve.fast.cache import Compiler
from pipeline.curve.fast.field import Field
from pipeline.curve.fast.memory import aligned, empty_points
from pipeline.curve.fast.pool import Pool
from pipeline.curve.fast.sweep import make_sweep, workspace_bytes

#: Fills indices[column, 0 .. stop - start] for the sums start .. stop and returns the table's address for each column.
Prepare = Callable[[int, int, NDArray[np.int32]], Sequence[int]]


class Adder:
    """Batch additions over one field. `chunk` sums share an inversion: large enough to pay for it, small enough for the cache."""

    def __init__(self, field: Field, compiler: Compiler, pool: Pool, chunk: int) -> None:
        self._field = field
        self._pool = pool
        self._chunk = chunk
        self._sweep = make_sweep(field, compiler)
        self._local = threading.local()

    @property
    def chunk(self) -> int:
        """Sums that are worked on together by one thread."""
        return self._chunk

    def columns(self, count: int, columns: int, prepare: Prepare, out: Points | None = None) -> Points:
        """`count` sums of `columns` >= 2 table entries each. An index is 2 * entry + (1 to subtract it)."""
        result = empty_points(count) if out is None else out

        def job(start: int, stop: int) -> None:
            indices = self._indices(columns, stop - start)
            tables = np.array(prepare(start, stop, indices), np.int64)
            indices[:, stop - start :] = indices[:, stop - start - 1, None]
            self._sweep(tables, indices, stop - start, result[start:stop], self._workspace())

        self._pool.run(count, self._chunk, job)
        return result

    def pairs(
        self,
        left: Points,
        left_indices: NDArray[np.int32],
        right: Points,
        right_indices: NDArray[np.int32],
        out: Points | None = None,
    ) -> Points:
        """left[left_indices[i]] + right[right_indices[i]], indices as in `columns`."""
        addresses = (left.ctypes.data, right.ctypes.data)

        def prepare(start: int, stop: int, indices: NDArray[np.int32]) -> Sequence[int]:
            indices[0, : stop - start] = left_indices[start:stop]
            indices[1, : stop - start] = right_indices[start:stop]
            return addresses

        return self.columns(len(left_indices), 2, prepare, out)

    def _indices(self, columns: int, count: int) -> NDArray[np.int32]:
        lanes = self._field.lanes
        padded = -(-count // lanes) * lanes
        space = getattr(self._local, "indices", None)
        if space is None or len(space) < columns * padded:
            space = self._local.indices = np.empty(columns * padded, np.int32)
        return space[: columns * padded].reshape(columns, padded)

    def _workspace(self) -> int:
        space = getattr(self._local, "workspace", None)
        if space is None:
            space = self._local.workspace = aligned(workspace_bytes(self._field, self._chunk))
        return int(space.ctypes.data)
