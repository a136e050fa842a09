"""Giant steps: x of S + G and of S - G from one inversion, since both have the run x(G) - x(S). 5M + 2S for the two."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.curve.contract import Points
from pipeline.curve.fast.cache import Compiler
from pipeline.curve.fast.emission import emit_copy, internal, offset, pointer, routine
from pipeline.curve.fast.field import ENTRY, Builder, Field
from pipeline.curve.fast.power import SCRATCH, make_powers

#: A group's notes: x(S) + x(G), run, the rises towards G and towards -G, the product of the runs before this group's.
BOTH, RUN, RISE, FALL, BEFORE = range(5)
NOTES = 5
INVERSE, PRODUCT = range(2)
STATE = 2

#: (points, indices, giants, their indices, count, out, workspace address). out: x(S + G) in words 0-3, x(S - G) in words 4-7; both
#: 0 where S = +-G. Indices are rounded up to lanes.
Meet = Callable[[Points, NDArray[np.int32], Points, NDArray[np.int32], int, NDArray[np.uint64], int], None]


def workspace_bytes(field: Field, chunk: int) -> int:
    """Memory for up to `chunk` pairs, to be aligned to 64 bytes."""
    return (-(-chunk // field.lanes) * NOTES + STATE + SCRATCH) * field.size + ENTRY * field.lanes


def make_meet(field: Field, compiler: Compiler) -> Meet:
    """The giant steps over one field."""
    approach = routine(f"approach_{field.name}", 6, partial(_approach, field))
    part = routine(f"part_{field.name}", 3, partial(_part, field))
    begin = routine(f"begin_{field.name}", 1, partial(_begin, field))
    copy_entries = routine("copy_entries", 3, emit_copy)
    inverse = make_powers(field, compiler).inverse
    lanes, size = field.lanes, field.size

    def meet(
        points: Points,
        indices: NDArray[np.int32],
        giants: Points,
        giant_indices: NDArray[np.int32],
        count: int,
        out: NDArray[np.uint64],
        workspace: int,
    ) -> None:
        groups = (count + lanes - 1) // lanes
        scratch = workspace + STATE * size
        tail = scratch + SCRATCH * size
        notes = tail + ENTRY * lanes
        begin(workspace)
        for group in range(groups):
            approach(
                notes + group * NOTES * size,
                workspace,
                np.intp(points.ctypes.data),
                np.intp(indices.ctypes.data) + 4 * lanes * group,
                np.intp(giants.ctypes.data),
                np.intp(giant_indices.ctypes.data) + 4 * lanes * group,
            )
        inverse(workspace, workspace + PRODUCT * size, scratch)
        for turn in range(groups):
            group = groups - 1 - turn
            part(notes + group * NOTES * size, workspace, tail)
            copy_entries(np.intp(out.ctypes.data) + group * lanes * ENTRY, tail, min(lanes, count - group * lanes))

    return compiler(meet)


def _begin(field: Field, builder: Builder, arguments: Sequence[Any]) -> None:
    state = pointer(builder, arguments[0])
    field.store(builder, field.constant(1), offset(builder, state, PRODUCT * field.size))


def _approach(field: Field, builder: Builder, arguments: Sequence[Any]) -> None:
    notes, state, points, indices, giants, giant_indices = (pointer(builder, address) for address in arguments)
    x, y = field.gather(builder, points, indices)
    other_x, other_y = field.gather(builder, giants, giant_indices)
    zero = field.constant(0)
    run = field.subtract(builder, other_x, x)
    for slot, value in (
        (BOTH, field.subtract(builder, x, field.subtract(builder, zero, other_x))),
        (RUN, run),
        (RISE, field.subtract(builder, other_y, y)),
        (FALL, field.subtract(builder, field.subtract(builder, zero, other_y), y)),
    ):
        field.store(builder, value, offset(builder, notes, slot * field.size))
    with builder.if_then(field.suspicious(builder, run), likely=False):
        for i, part in enumerate(field.parts):
            slots = [offset(builder, notes, slot * field.size + i * part.size) for slot in (BOTH, RUN, RISE, FALL)]
            function = internal(builder.module, f"blank_{part.name}", len(slots), partial(_blank, part))
            builder.call(function, [builder.ptrtoint(slot, function.args[0].type) for slot in slots])
    run = field.load(builder, offset(builder, notes, RUN * field.size))
    product = field.load(builder, offset(builder, state, PRODUCT * field.size))
    field.store(builder, product, offset(builder, notes, BEFORE * field.size))
    field.store(builder, field.multiply(builder, product, run), offset(builder, state, PRODUCT * field.size))


def _blank(field: Field, builder: Builder, arguments: Sequence[Any]) -> None:
    """Where the run is 0, notes for which both x come out 0: on no point, so not to be mistaken."""
    slots = [pointer(builder, address) for address in arguments]
    mask = field.is_zero(builder, field.load(builder, slots[1]))
    for slot, number in zip(slots, (0, 1, 0, 0), strict=True):
        value = field.choose(builder, mask, field.constant(number), field.load(builder, slot))
        field.store(builder, value, slot)


def _part(field: Field, builder: Builder, arguments: Sequence[Any]) -> None:
    notes, state, out = (pointer(builder, address) for address in arguments)
    both, run, rise, fall, before = (
        field.load(builder, offset(builder, notes, slot * field.size)) for slot in range(NOTES)
    )
    inverse = field.load(builder, offset(builder, state, INVERSE * field.size))
    field.store(builder, field.multiply(builder, inverse, run), offset(builder, state, INVERSE * field.size))
    own = field.multiply(builder, inverse, before)
    towards, away = (
        field.subtract(builder, field.square(builder, field.multiply(builder, slope, own)), both)
        for slope in (rise, fall)
    )
    field.scatter(builder, towards, away, out)
