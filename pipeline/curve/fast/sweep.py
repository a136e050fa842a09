"""Sums of table entries: out[i] = tables[0][indices[0, i]] + tables[1][indices[1, i]] + ... for a chunk of i at once."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.curve.contract import Points
from pipeline.curve.fast.addition import BLOCK, NOTES, PRODUCT, RUN, STATE, make_steps
from pipeline.curve.fast.cache import Compiler
from pipeline.curve.fast.emission import emit_copy, pointer, routine
from pipeline.curve.fast.field import ENTRY, Builder, Field
from pipeline.curve.fast.power import SCRATCH, make_powers

#: (table addresses, int32 indices [columns, chunk rounded up to lanes], count, out, workspace address)
Sweep = Callable[[NDArray[np.int64], NDArray[np.int32], int, Points, int], None]


def workspace_bytes(field: Field, chunk: int) -> int:
    """Memory that a sweep of up to `chunk` sums works in, to be aligned to 64 bytes."""
    groups = -(-chunk // field.lanes)
    return ((groups + 2) * NOTES + STATE + SCRATCH) * field.size + ENTRY * field.lanes


def make_sweep(field: Field, compiler: Compiler) -> Sweep:
    """The sweep over one field. An index is 2 * entry + negated; two columns at least; indices beyond count must be valid."""
    steps = make_steps(field)
    start, step, finish = steps.start, steps.step, steps.finish
    powers = make_powers(field, compiler)
    inverse, multiply = powers.inverse, powers.multiply
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
        # A group with run 1 on either side: whoever comes first takes the run of the one before it.
        notes = tail + ENTRY * lanes + NOTES * size
        set_one(notes - NOTES * size + RUN * size)
        set_one(notes + groups * NOTES * size + RUN * size)
        product = state + PRODUCT * size
        whole = count // lanes

        set_one(product)
        for group in range(0, groups, BLOCK):
            many = min(BLOCK, groups - group)
            here = 4 * lanes * group
            ahead = here + 4 * lanes * BLOCK if group + 2 * BLOCK <= groups else here
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
                many,
            )
        onwards = -1
        for column in range(2, columns):
            multiply(product, product, notes + (groups - 1 if onwards < 0 else 0) * NOTES * size + RUN * size)
            inverse(state, product, scratch)
            set_one(product)
            row = first + width * column
            for turn in range(0, groups, BLOCK):
                many = min(BLOCK, groups - turn)
                group = groups - 1 - turn if onwards < 0 else turn
                here = 4 * lanes * group
                ahead = here + 4 * lanes * BLOCK * onwards if turn + 2 * BLOCK <= groups else here
                step(notes + group * NOTES * size, state, tables[column], row + here, row + ahead, many, onwards)
            onwards = -onwards
        multiply(product, product, notes + (groups - 1 if onwards < 0 else 0) * NOTES * size + RUN * size)
        inverse(state, product, scratch)
        turn = 0
        while turn < groups:
            group = groups - 1 - turn if onwards < 0 else turn
            if group < whole:
                # The group that is not whole is the first one backwards and the last one onwards.
                many = min(BLOCK, groups - turn if onwards < 0 else whole - turn)
                finish(notes + group * NOTES * size, state, target + group * lanes * ENTRY, many, onwards)
            else:
                many = 1
                finish(notes + group * NOTES * size, state, tail, many, onwards)
                copy_entries(target + group * lanes * ENTRY, tail, count - whole * lanes)
            turn += many

    return compiler(sweep)


def _set_one(field: Field, builder: Builder, arguments: Any) -> None:
    field.store(builder, field.constant(1), pointer(builder, arguments[0]))
