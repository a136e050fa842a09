"""Sums of table entries: out[i] = tables[0][indices[0, i]] + tables[1][indices[1, i]] + ... for a chunk of i at once."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.curve.contract import Points
from pipeline.curve.fast.addition import NOTES, PRODUCT, STATE, make_steps
from pipeline.curve.fast.cache import Compiler
from pipeline.curve.fast.emission import emit_copy, pointer, routine
from pipeline.curve.fast.field import ENTRY, Builder, Field
from pipeline.curve.fast.power import SCRATCH, make_powers

#: Groups of lanes between a prefetch and its use.
AHEAD = 2

#: (table addresses, int32 indices [columns, chunk rounded up to lanes], count, out, workspace address)
Sweep = Callable[[NDArray[np.int64], NDArray[np.int32], int, Points, int], None]


def workspace_bytes(field: Field, chunk: int) -> int:
    """Memory that a sweep of up to `chunk` sums works in, to be aligned to 64 bytes."""
    groups = -(-chunk // field.lanes)
    return (groups * NOTES + STATE + SCRATCH) * field.size + ENTRY * field.lanes


def make_sweep(field: Field, compiler: Compiler) -> Sweep:
    """The sweep over one field. An index is 2 * entry + negated; two columns at least; indices beyond count must be valid."""
    steps = make_steps(field)
    start, step, finish = steps.start, steps.step, steps.finish
    inverse = make_powers(field, compiler).inverse
    set_one = routine(f"one_{field.name}", 1, partial(_set_one, field))
    copy_entries = routine("copy_entries", 3, emit_copy)
    lanes, size = field.lanes, field.size

    def sweep(tables: NDArray[np.int64], indices: NDArray[np.int32], count: int, out: Points, workspace: int) -> None:
        if count == 0:
            return
        groups = (count + lanes - 1) // lanes
        columns = len(tables)
        width = 4 * indices.shape[1]
        first = np.intp(indices.ctypes.data)
        target = np.intp(out.ctypes.data)
        state = workspace
        scratch = workspace + STATE * size
        tail = scratch + SCRATCH * size
        notes = tail + ENTRY * lanes
        product = state + PRODUCT * size
        last = 4 * lanes * (groups - 1)

        set_one(product)
        for group in range(groups):
            here = 4 * lanes * group
            ahead = min(last, here + 4 * lanes * AHEAD)
            left, right = first, first + width
            start(
                notes + group * NOTES * size,
                state,
                tables[0],
                left + here,
                tables[1],
                right + here,
                left + ahead,
                right + ahead,
            )
        backwards = True
        for column in range(2, columns):
            inverse(state, product, scratch)
            set_one(product)
            row = first + width * column
            for turn in range(groups):
                group = groups - 1 - turn if backwards else turn
                here = 4 * lanes * group
                ahead = max(0, here - 4 * lanes * AHEAD) if backwards else min(last, here + 4 * lanes * AHEAD)
                step(notes + group * NOTES * size, state, tables[column], row + here, row + ahead)
            backwards = not backwards
        inverse(state, product, scratch)
        for turn in range(groups):
            group = groups - 1 - turn if backwards else turn
            behind = count - group * lanes
            if behind >= lanes:
                finish(notes + group * NOTES * size, state, target + group * lanes * ENTRY)
            else:
                finish(notes + group * NOTES * size, state, tail)
                copy_entries(target + group * lanes * ENTRY, tail, behind)

    return compiler(sweep)


def _set_one(field: Field, builder: Builder, arguments: Any) -> None:
    field.store(builder, field.constant(1), pointer(builder, arguments[0]))
