"""Bytes that stay in their file until a part is asked for: what is as long as a model is never in memory as a whole.

A slice is read (pread), not mapped: what was read is given back, so that a process's resident memory is bounded too, and a
file that was cut short is a short read instead of the end of the process.
"""

import os
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Retryable

#: Bytes that are read, hashed or sent at once.
PIECE = 1024 * 1024


class FileBytes:
    """A file's bytes, or a part of them. The file is held open, and may be unlinked meanwhile; its last user closes it."""

    def __init__(self, source: "Source", start: int, stop: int) -> None:
        self._source, self._start, self._stop = source, start, stop

    @classmethod
    def at(cls, path: Path) -> "FileBytes":
        """All of a file as long as it is now. Raises OSError."""
        handle = _Handle(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        return cls(handle, 0, handle.size())

    @classmethod
    def of(cls, file: IO[bytes]) -> "FileBytes":
        """All that was written to an open file, which may be closed then. Raises OSError."""
        file.flush()
        handle = _Handle(os.dup(file.fileno()))
        return cls(handle, 0, handle.size())

    def __len__(self) -> int:
        return self._stop - self._start

    def __getitem__(self, at: slice) -> bytes:
        """The bytes of a slice without a step, in memory. Raises Retryable where the disk fails."""
        start, stop, step = at.indices(len(self))
        if step != 1:
            raise ValueError("a part of a file has no step")
        return self._source.read(self._start + start, max(0, stop - start))

    def part(self, start: int, stop: int) -> Self:
        """Bytes start .. stop - 1, still in the file."""
        if not 0 <= start <= stop <= len(self):
            raise ValueError(f"bytes {start} to {stop} of {len(self)}")
        return type(self)(self._source, self._start + start, self._start + stop)


class Source(Protocol):
    """What a part of a file is read from."""

    def read(self, start: int, count: int) -> bytes:
        """Bytes start .. start + count - 1, all of which are there. Raises Retryable."""


class _Handle:
    """An open file's descriptor, closed with its last user."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        weakref.finalize(self, os.close, descriptor)

    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def read(self, start: int, count: int) -> bytes:
        parts = []
        while count:
            try:
                part = os.pread(self._descriptor, count, start)
            except OSError as error:
                raise Retryable(f"a file cannot be read: {error}") from error
            if not part:
                raise Retryable("a file became shorter while it was read")
            parts.append(part)
            start, count = start + len(part), count - len(part)
        return b"".join(parts)


#: In memory, a view of it, or in a file. A slice of any of them holds a part in memory.
Bytes = bytes | memoryview | FileBytes


def pieces(*parts: Bytes) -> Iterator[bytes | memoryview]:
    """All bytes of all parts in order, at most `PIECE` at a time."""
    return (data[at : at + PIECE] for data in parts for at in range(0, len(data), PIECE))


def array_of(data: Bytes, dtype: str, first: int, count: int) -> NDArray[Any]:
    """Items first .. first + count - 1 of an array that `data` is the bytes of; fewer where it ends."""
    size = np.dtype(dtype).itemsize
    return np.frombuffer(data[size * first : size * (first + count)], dtype=dtype)
