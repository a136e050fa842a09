"""The baby steps: a table that names i for the point i * H, 1 <= i <= BABIES, by x alone. One table serves every task.

It lies in the cache folder and is mapped, so all workers of a machine share one copy. Open addressing, 8 bytes a slot: the upper
39 bits of x's second word, the parity of y, and i in 24 bits; the first word says where to look. Two points that agree in all of
these bits would shadow each other, which is why whoever looks something up verifies what it finds.
"""

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import structlog
from llvmlite import ir
from numpy.typing import NDArray

from pipeline.curve.contract import Points
from pipeline.curve.fast.adder import Adder
from pipeline.curve.fast.cache import Compiler
from pipeline.curve.fast.emission import pointer, prefetch, routine
from pipeline.curve.fast.progression import progressions
from pipeline.curve.fast.single import Point, multiply, to_points

log = structlog.get_logger()

#: Baby steps of the table: 2^22 find |v| <= 4,194,304 by one look; 64 MiB.
BABIES = 2**22
SLOTS_PER_BABY = 2
#: The bits of a slot.
NUMBER = 2**24 - 1
PARITY = 2**24
TAG = (2**64 - 1) ^ (2**25 - 1)
#: Points made at a time while the table is built.
BLOCK = 2**16
#: Look-ups between a prefetch and its use.
AHEAD = 24

Slots = NDArray[np.uint64]
#: (points, first slots, the words in which x starts in a row, numbers): +-i where x is that of i * H, the sign from y; else 0.
Find = Callable[[NDArray[np.uint64], Slots, int, NDArray[np.int64]], None]


class Babies:
    """The table, loaded from `cache_dir` or made (and left there). None: made in memory."""

    def __init__(
        self, adder: Adder, compiler: Compiler, generator: Point, cache_dir: Path | None, babies: int = BABIES
    ) -> None:
        self.count = babies
        self.find, insert = _make_loops(compiler)
        size = babies * SLOTS_PER_BABY
        path = None if cache_dir is None else cache_dir / f"babies-1-{babies}.bin"
        slots = None if path is None else _mapped(path, size)
        if slots is None:
            log.info("making the table of logarithms, up to some seconds", babies=babies, file=str(path))
            slots = np.zeros(size, np.uint64)
            for start, points in _multiples(adder, generator, babies):
                insert(points, start + 1, slots)
            if path is not None:
                _save(path, slots)
                slots = _mapped(path, size) if path.exists() else slots
        assert slots is not None
        self.slots: Slots = slots


def _mapped(path: Path, size: int) -> Slots | None:
    """The file's slots; None where there is no whole file."""
    try:
        if path.stat().st_size != size * 8:
            return None
        return np.memmap(path, np.uint64, "r", shape=(size,)).view(np.ndarray)
    except OSError:
        return None


def _save(path: Path, slots: Slots) -> None:
    """Puts the file there whole or not at all, whoever else does the same at the same time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=path.name, dir=path.parent)
    except OSError as error:
        log.warning(
            "the table of logarithms cannot be kept, it is made at every start", file=str(path), error=str(error)
        )
        return
    try:
        with os.fdopen(descriptor, "wb") as file:
            slots.tofile(file)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except OSError as error:
        log.warning(
            "the table of logarithms cannot be kept, it is made at every start", file=str(path), error=str(error)
        )
        with suppress(OSError):
            Path(name).unlink()


def _multiples(adder: Adder, generator: Point, count: int) -> Iterator[tuple[int, Points]]:
    """(i, the points (i + 1) * H, (i + 2) * H, ...) in blocks."""
    block = min(BLOCK, count)
    points = progressions(adder, [generator], [generator], block)
    indices = np.arange(block, dtype=np.int32) << np.int32(1)
    stride = to_points([multiply(block, generator)])
    yield 0, points
    for start in range(block, count, block):
        points = adder.pairs(points, indices, stride, np.zeros(block, np.int32))
        yield start, points[: count - start]


def _make_loops(compiler: Compiler) -> tuple[Find, Callable[[Points, int, Slots], None]]:
    touch = routine("touch", 1, _touch)
    number, parity, tag = np.uint64(NUMBER), np.uint64(PARITY), np.uint64(TAG)
    one, zero = np.uint64(1), np.uint64(0)

    def insert(points: Points, first: int, slots: Slots) -> None:
        mask = np.uint64(len(slots) - 1)
        for i in range(len(points)):
            slot = points[i, 0] & mask
            while slots[slot] != zero:
                slot = (slot + one) & mask
            odd = parity if points[i, 4] & one else zero
            slots[slot] = (points[i, 1] & tag) | odd | np.uint64(first + i)

    def find(points: NDArray[np.uint64], slots: Slots, column: int, numbers: NDArray[np.int64]) -> None:
        mask = np.uint64(len(slots) - 1)
        base = np.intp(slots.ctypes.data)
        for i in range(min(AHEAD, len(points))):
            touch(base + (np.intp(points[i, column] & mask) << 3))
        for i in range(len(points)):
            ahead = min(i + AHEAD, len(points) - 1)
            touch(base + (np.intp(points[ahead, column] & mask) << 3))
            slot = points[i, column] & mask
            wanted = points[i, column + 1] & tag
            numbers[i] = 0
            while slots[slot] != zero:
                if slots[slot] & tag == wanted:
                    same = ((slots[slot] & parity) != zero) == ((points[i, 4] & one) != zero)
                    value = np.int64(slots[slot] & number)
                    numbers[i] = value if same else -value
                    break
                slot = (slot + one) & mask

    return compiler(find), compiler(insert)


def _touch(builder: ir.IRBuilder, arguments: Sequence[object]) -> None:
    prefetch(builder, pointer(builder, arguments[0]))
