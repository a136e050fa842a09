"""Points from their x: y = (x^3 + 7)^((p+1)/4), checked against the curve, of the wanted parity."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.curve.contract import Points
from pipeline.curve.fast.cache import Compiler
from pipeline.curve.fast.emission import emit_copy, offset, pointer, routine
from pipeline.curve.fast.field import ENTRY, Builder, Field
from pipeline.curve.fast.power import SCRATCH, make_powers

#: A group's values: x, the wanted parity, x^3 + 7, its root.
ABSCISSA, WANTED, RIGHT, ROOT = range(4)
SLOTS = 4

#: (points with 0 or 1 for y, their indices rounded up to lanes, workspace address): y in place, 0 where x is on no point.
Lift = Callable[[Points, NDArray[np.int32], int], None]


def workspace_bytes(field: Field) -> int:
    """Memory that a lift works in, to be aligned to 64 bytes."""
    return (SLOTS + SCRATCH) * field.size + ENTRY * field.lanes


def make_lift(field: Field, compiler: Compiler) -> Lift:
    """The decompression over one field."""
    raise_right = routine(f"right_{field.name}", 3, partial(_right, field))
    settle = routine(f"settle_{field.name}", 2, partial(_settle, field))
    copy_entries = routine("copy_entries", 3, emit_copy)
    root = make_powers(field, compiler).root
    lanes, size = field.lanes, field.size

    def lift(points: Points, indices: NDArray[np.int32], workspace: int) -> None:
        table = np.intp(points.ctypes.data)
        first = np.intp(indices.ctypes.data)
        scratch = workspace + SLOTS * size
        tail = scratch + SCRATCH * size
        for start in range(0, len(points), lanes):
            raise_right(workspace, table, first + 4 * start)
            root(workspace + ROOT * size, workspace + RIGHT * size, scratch)
            settle(workspace, tail)
            copy_entries(table + start * ENTRY, tail, min(lanes, len(points) - start))

    return compiler(lift)


def _slot(field: Field, builder: Builder, workspace: Any, slot: int) -> Any:
    return offset(builder, workspace, slot * field.size)


def _right(field: Field, builder: Builder, arguments: Sequence[Any]) -> None:
    workspace, table, indices = (pointer(builder, address) for address in arguments)
    x, wanted = field.gather(builder, table, indices)
    cube = field.multiply(builder, field.square(builder, x), x)
    minus_seven = field.subtract(builder, field.constant(0), field.constant(7))
    right = field.subtract(builder, cube, minus_seven)
    for slot, value in ((ABSCISSA, x), (WANTED, wanted), (RIGHT, right)):
        field.store(builder, value, _slot(field, builder, workspace, slot))


def _settle(field: Field, builder: Builder, arguments: Sequence[Any]) -> None:
    workspace, out = (pointer(builder, address) for address in arguments)
    x, wanted, right, root = (field.load(builder, _slot(field, builder, workspace, slot)) for slot in range(SLOTS))
    zero = field.constant(0)
    fits = field.is_zero(builder, field.subtract(builder, field.square(builder, root), right))
    root = field.canonical(builder, root)
    other = field.subtract(builder, zero, root)
    root = field.choose(builder, field.parity_differs(builder, root, wanted), other, root)
    field.scatter(builder, x, field.choose(builder, fits, root, zero), out)
