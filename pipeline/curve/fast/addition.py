"""The step of a batch affine addition, complete: any two points, equal, opposite or infinite.

The sum of (x, y) and (x', y') needs 1 / (x' - x). A batch shares one inversion (Montgomery's trick): going through the groups of
lanes, `start` notes the product of all runs x' - x so far; the last product is inverted; going back, `finish` splits the inverse
of each run off. 5M + 1S an addition. Between two columns of a sum both passes are one, `step`: finish the addition of column
t and start that of column t + 1, in one read and write of the group's notes, each sweep in the opposite direction of the last.

Completeness costs three compares: where some lane's run or abscissa looks like zero, `_repair` rewrites that lane's notes so that
the ordinary formulas (slope = rise / run; X = slope^2 - 2x - run; Y = slope (x - X) - y) give the right sum all the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from pipeline.curve.contract import P
from pipeline.curve.fast.emission import internal, offset, pointer, prefetch, routine
from pipeline.curve.fast.field import Builder, Field

#: A group's notes: x and y of the accumulated point, run, rise, and the product of the runs before this group's.
X, Y, RUN, RISE, BEFORE = range(5)
NOTES = 5
#: What a sweep carries, and the second point of a group under repair.
INVERSE, PRODUCT, OTHER_X, OTHER_Y = range(4)
STATE = 4
HALF = (P + 1) // 2


@dataclass(frozen=True)
class Steps:
    """The three passes as routines that compiled code can call, with addresses as arguments."""

    #: (notes, state, left, left indices, right, right indices, left indices to prefetch, right ones)
    start: Any
    #: (notes, state, table, indices, indices to prefetch)
    step: Any
    #: (notes, state, out)
    finish: Any


def make_steps(field: Field) -> Steps:
    """The passes over one field."""
    return Steps(
        start=routine(f"start_{field.name}", 8, partial(_start, field)),
        step=routine(f"step_{field.name}", 5, partial(_step, field)),
        finish=routine(f"finish_{field.name}", 3, partial(_finish, field)),
    )


def _start(field: Field, builder: Builder, arguments: Sequence[Any]) -> None:
    notes, state, left, left_indices, right, right_indices, left_ahead, right_ahead = (
        pointer(builder, address) for address in arguments
    )
    _prefetch(field, builder, left, left_ahead)
    _prefetch(field, builder, right, right_ahead)
    x, y = field.gather(builder, left, left_indices)
    other_x, other_y = field.gather(builder, right, right_indices)
    _note(field, builder, (notes, state), (x, y), (other_x, other_y))


def _step(field: Field, builder: Builder, arguments: Sequence[Any]) -> None:
    notes, state, table, indices, ahead = (pointer(builder, address) for address in arguments)
    _prefetch(field, builder, table, ahead)
    x, y = _sum(field, builder, notes, state)
    _note(field, builder, (notes, state), (x, y), field.gather(builder, table, indices))


def _finish(field: Field, builder: Builder, arguments: Sequence[Any]) -> None:
    notes, state, out = (pointer(builder, address) for address in arguments)
    x, y = _sum(field, builder, notes, state)
    field.scatter(builder, x, y, out)


def _prefetch(field: Field, builder: Builder, table: Any, indices: Any) -> None:
    for lane in range(field.lanes):
        prefetch(builder, field.lane_entry(builder, table, indices, lane))


def _note(
    field: Field, builder: Builder, where: tuple[Any, Any], point: tuple[Any, Any], other: tuple[Any, Any]
) -> None:
    """Writes the notes for point + other and takes the run into the product."""
    notes, state = where
    run = field.subtract(builder, other[0], point[0])
    rise = field.subtract(builder, other[1], point[1])
    for slot, value in ((X, point[0]), (Y, point[1]), (RUN, run), (RISE, rise)):
        field.store(builder, value, offset(builder, notes, slot * field.size))
    doubt = builder.or_(
        field.suspicious(builder, run),
        builder.or_(field.suspicious(builder, point[0]), field.suspicious(builder, other[0])),
    )
    with builder.if_then(doubt, likely=False):
        field.store(builder, other[0], offset(builder, state, OTHER_X * field.size))
        field.store(builder, other[1], offset(builder, state, OTHER_Y * field.size))
        for i, part in enumerate(field.parts):
            slots = [offset(builder, notes, slot * field.size + i * part.size) for slot in (X, Y, RUN, RISE)]
            slots += [offset(builder, state, slot * field.size + i * part.size) for slot in (OTHER_X, OTHER_Y)]
            function = internal(builder.module, f"repair_{part.name}", len(slots), partial(_repair, part))
            builder.call(function, [builder.ptrtoint(slot, function.args[0].type) for slot in slots])
    run = field.load(builder, offset(builder, notes, RUN * field.size))
    product = field.load(builder, offset(builder, state, PRODUCT * field.size))
    field.store(builder, product, offset(builder, notes, BEFORE * field.size))
    field.store(builder, field.multiply(builder, product, run), offset(builder, state, PRODUCT * field.size))


def _sum(field: Field, builder: Builder, notes: Any, state: Any) -> tuple[Any, Any]:
    """The sum that the notes describe; takes the run off the carried inverse."""
    x, y, run, rise, before = (field.load(builder, offset(builder, notes, slot * field.size)) for slot in range(NOTES))
    inverse = field.load(builder, offset(builder, state, INVERSE * field.size))
    field.store(builder, field.multiply(builder, inverse, run), offset(builder, state, INVERSE * field.size))
    slope = field.multiply(builder, rise, field.multiply(builder, inverse, before))
    sum_x = field.abscissa(builder, slope, x, run)
    return sum_x, field.ordinate(builder, slope, field.subtract(builder, x, sum_x), y)


def _repair(field: Field, builder: Builder, arguments: Sequence[Any]) -> None:
    """Rewrites the notes of lanes for which run = 0 or a point is infinite.

    Equal points have slope 3x^2 / 2y: run = 2y and rise = 3x^2, and with x - y noted for x the formula still takes 2x from
    slope^2; the y that fits it is y - slope * y = y - 3x^2 / 2. A result (X, Y) that is known beforehand comes out of run = 1,
    rise = 0, x = -(X + 1) / 2, y = -Y; infinity is (0, 0).
    """
    slots = [pointer(builder, address) for address in arguments]
    x, y, run, rise, other_x, other_y = (field.load(builder, slot) for slot in slots)
    zero, one, half = (field.constant(number) for number in (0, 1, HALF))

    def negative(value: Any) -> Any:
        return field.subtract(builder, zero, value)

    def choose(mask: Any, yes: Any, no: Any) -> Any:
        return field.choose(builder, mask, yes, no)

    infinite, other_infinite = field.is_zero(builder, x), field.is_zero(builder, other_x)
    some_infinite = builder.or_(infinite, other_infinite)
    upright = builder.and_(field.is_zero(builder, run), builder.not_(some_infinite))
    level = field.is_zero(builder, rise)
    known = builder.or_(some_infinite, builder.and_(upright, builder.not_(level)))
    equal = builder.and_(upright, level)

    known_x = choose(infinite, other_x, choose(other_infinite, x, zero))
    known_negative_y = choose(infinite, negative(other_y), choose(other_infinite, negative(y), zero))
    known_x = field.multiply(builder, negative(field.subtract(builder, known_x, negative(one))), half)
    bend = field.multiply(builder, field.square(builder, x), field.constant(3 * HALF % P))

    for slot, ordinary, doubled, fixed in (
        (X, x, field.subtract(builder, x, y), known_x),
        (Y, y, field.subtract(builder, y, bend), known_negative_y),
        (RUN, run, field.subtract(builder, y, negative(y)), one),
        (RISE, rise, field.subtract(builder, bend, negative(bend)), zero),
    ):
        field.store(builder, choose(equal, doubled, choose(known, fixed, ordinary)), slots[slot])
