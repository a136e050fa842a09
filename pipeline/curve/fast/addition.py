"""The step of a batch affine addition, complete: any two points, equal, opposite or infinite.

The sum of (x, y) and (x', y') needs 1 / (x' - x). A batch shares one inversion (Montgomery's trick): going through the groups of
lanes, `start` notes the product of all runs x' - x so far; the last product is inverted; going back, `finish` splits the inverse
of each run off. 5M + 1S an addition. Between two columns of a sum both passes are one, `step`: finish the addition of column
t and start that of column t + 1, in one read and write of the group's notes, each sweep in the opposite direction of the last.

Completeness costs one compare a block: where some lane's run or abscissa looks like zero, `_repair` rewrites such lanes' notes so that
the ordinary formulas (slope = rise / run; X = slope^2 - 2x - run; Y = slope (x - X) - y) give the right sum all the same.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from llvmlite import ir

from pipeline.curve.contract import P
from pipeline.curve.fast.emission import I64, counted, internal, offset, pointer, prefetch, routine
from pipeline.curve.fast.field import ENTRY, Builder, Field

#: A group's notes: x and y of the accumulated point, run, rise, and the product of the runs before this group's.
X, Y, RUN, RISE, BEFORE = range(5)
NOTES = 5
#: Groups that go through a pass together: enough to hide the multiplications' latency, few enough for the first-level cache (8
#: groups' notes are 13 KiB).
BLOCK = 8
#: What a sweep carries, then a block's own memory: each group's second point.
INVERSE, PRODUCT, OTHER_X = range(3)
OTHER_Y = OTHER_X + BLOCK
STATE = OTHER_Y + BLOCK
HALF = (P + 1) // 2


@dataclass(frozen=True)
class Steps:
    """The three passes over a block of `count` groups as routines that compiled code can call, with addresses as arguments.

    The block begins at the group of `notes` and of the indices, and goes on by one group or, where `onwards` is -1, by one
    group back; `ahead` are indices of the next block, whose entries are prefetched.
    """

    #: (notes, state, left, left indices, right, right indices, left indices ahead, right ones, count), onwards only
    start: Any
    #: (notes, state, table, indices, indices ahead, count, onwards)
    step: Any
    #: (notes, state, out, count, onwards)
    finish: Any


def make_steps(field: Field) -> Steps:
    """The passes over one field."""
    return Steps(
        start=routine(f"start_{field.name}", 9, partial(_start, field)),
        step=routine(f"step_{field.name}", 7, partial(_step, field)),
        finish=routine(f"finish_{field.name}", 5, partial(_finish, field)),
    )


def _start(field: Field, builder: Builder, arguments: Sequence[Any]) -> None:
    notes, state, left, left_indices, right, right_indices, left_ahead, right_ahead = (
        pointer(builder, address) for address in arguments[:8]
    )
    block = _Block(field, builder, notes, state, arguments[8], ir.Constant(I64, 1))
    block.places.update({X: X * field.size, BEFORE: BEFORE * field.size})

    def note(group: "_Group") -> None:
        for table, ahead in ((left, left_ahead), (right, right_ahead)):
            _prefetch(field, builder, table, group.indices(ahead), range(field.lanes))
        _take_run(group, BEFORE)
        x, y = field.gather(builder, left, group.indices(left_indices))
        other_x, other_y = field.gather(builder, right, group.indices(right_indices))
        run = field.difference(builder, other_x, x)
        rise = field.difference(builder, other_y, y)
        for slot, value in ((X, x), (Y, y), (RUN, run), (RISE, rise)):
            group.write(slot, value)
        _repair_where(group, field.doubtful(builder, field.doubts(builder, run, x, other_x)), X)

    block.each(note, PRODUCT)


def _step(field: Field, builder: Builder, arguments: Sequence[Any]) -> None:
    notes, state, table, indices, ahead = (pointer(builder, address) for address in arguments[:5])
    block = _Block(field, builder, notes, state, *arguments[5:])

    # Spread over the loops: the processor keeps only so many lines on their way.
    def fetch(group: "_Group", part: int) -> None:
        lanes = range(field.lanes * part // 3, field.lanes * (part + 1) // 3)
        _prefetch(field, builder, table, group.indices(ahead), lanes)

    def gather(group: "_Group") -> None:
        fetch(group, 0)
        for slot, value in zip((OTHER_X, OTHER_Y), field.gather(builder, table, group.indices(indices)), strict=True):
            field.store(builder, value, group.aside(slot))

    def run(group: "_Group", sum_x: Any) -> None:
        fetch(group, 1)
        other_x = field.load(builder, group.aside(OTHER_X))
        run = field.difference(builder, other_x, sum_x)
        group.write(RUN, run)
        group.doubts = builder.or_(group.doubts, field.doubts(builder, run, sum_x, other_x))

    def ordinate(group: "_Group") -> None:
        fetch(group, 2)
        x, sum_x = group.read(X), group.read(BEFORE)
        _take_run(group, X)
        sum_y = _ordinate(group, field.difference(builder, x, sum_x))
        group.write(RISE, field.difference(builder, field.load(builder, group.aside(OTHER_Y)), sum_y))
        _repair_where(group, doubtful, BEFORE)

    _slopes(block, gather)
    doubtful = _abscissas(block, run)
    block.each(ordinate, PRODUCT)


def _finish(field: Field, builder: Builder, arguments: Sequence[Any]) -> None:
    notes, state, out = (pointer(builder, address) for address in arguments[:3])
    block = _Block(field, builder, notes, state, *arguments[3:])
    _slopes(block, lambda group: None)
    _abscissas(block, lambda group, sum_x: None)

    def ordinate(group: "_Group") -> None:
        sum_x = group.read(BEFORE)
        sum_y = _ordinate(group, field.difference(builder, group.read(X), sum_x))
        field.scatter(builder, sum_x, sum_y, group.place(out, ENTRY * field.lanes))

    block.each(ordinate)


class _Group:
    """One turn of a pass: a group's notes, and what the pass carries."""

    def __init__(self, block: "_Block", turn: Any, number: Any, product: Any, doubts: Any) -> None:
        self.block = block
        self.turn = turn
        self.number = number
        self.product = product
        self.doubts = doubts
        self.notes = self.place(block.notes, NOTES * block.field.size)

    def place(self, base: Any, size: int) -> Any:
        """The group's part of an array of `size` bytes a group."""
        builder = self.block.builder
        return offset(builder, base, builder.mul(self.number, ir.Constant(I64, size)))

    def indices(self, first: Any) -> Any:
        return self.place(first, 4 * self.block.field.lanes)

    def aside(self, first: int) -> Any:
        """The group's value in the block's own memory, behind the state."""
        builder, size = self.block.builder, self.block.field.size
        return offset(
            builder, offset(builder, self.block.state, first * size), builder.mul(self.turn, ir.Constant(I64, size))
        )

    def slot(self, slot: int) -> Any:
        return offset(self.block.builder, self.notes, self.block.places.get(slot, slot * self.block.field.size))

    def read(self, slot: int) -> Any:
        return self.block.field.load(self.block.builder, self.slot(slot))

    def write(self, slot: int, value: Any) -> None:
        self.block.field.store(self.block.builder, value, self.slot(slot))


@dataclass(frozen=True)
class _Block:
    """The groups of one call."""

    field: Field
    builder: Builder
    notes: Any
    state: Any
    count: Any
    onwards: Any

    @cached_property
    def places(self) -> dict[int, Any]:
        """Where X and BEFORE are: a pass writes the sum's x over the product that it has used, and the next product over x."""
        builder, size = self.builder, self.field.size
        back = builder.icmp_signed("<", self.onwards, ir.Constant(I64, 0))
        first, second = (ir.Constant(I64, slot * size) for slot in (X, BEFORE))
        return {X: builder.select(back, first, second), BEFORE: builder.select(back, second, first)}

    def each(self, work: Callable[[_Group], None], carried: int | None = None) -> Any:
        """A loop over the groups; an i1: whether they raised doubts.

        `carried` names the state that it takes along in registers, as `product` of the group.
        """
        field, builder = self.field, self.builder
        slot = None if carried is None else offset(builder, self.state, carried * field.size)
        initial = [] if slot is None else field.flatten(field.load(builder, slot))
        zero = ir.Constant(I64, 0)
        with counted(builder, self.count, [zero, zero, field.quiet, *initial]) as (values, following):
            turn, number, doubts, *current = values
            group = _Group(self, turn, number, field.unflatten(current) if current else None, doubts)
            work(group)
            following += [builder.add(turn, ir.Constant(I64, 1)), builder.add(number, self.onwards), group.doubts]
            if slot is not None:
                following += field.flatten(group.product)
        if slot is not None:
            field.store(builder, field.unflatten(following[3:]), slot)
        return field.doubtful(builder, following[2])


def _prefetch(field: Field, builder: Builder, table: Any, indices: Any, lanes: range) -> None:
    for lane in lanes:
        prefetch(builder, field.lane_entry(builder, table, indices, lane))


def _take_run(group: _Group, slot: int) -> None:
    """Takes the run of the group before this one, which is settled by now, into the product that this group notes in `slot`."""
    field, builder = group.block.field, group.block.builder
    back = builder.mul(group.block.onwards, ir.Constant(I64, -NOTES * field.size))
    run = field.load(builder, offset(builder, group.slot(RUN), back))
    group.product = field.fence(builder, field.multiply(builder, group.product, run))
    group.write(slot, group.product)


def _repair_where(group: _Group, doubt: Any, x: int) -> None:
    """Repairs the group's notes where there is doubt; `x` is the slot where its x is noted."""
    field, builder = group.block.field, group.block.builder
    with builder.if_then(doubt, likely=False):
        for i, part in enumerate(field.parts):
            slots = [offset(builder, group.slot(slot), i * part.size) for slot in (x, Y, RUN, RISE)]
            function = internal(builder.module, f"repair_{part.name}", len(slots), partial(_repair, part))
            builder.call(function, [builder.ptrtoint(slot, function.args[0].type) for slot in slots])


def _slopes(block: _Block, gather: Callable[[_Group], None]) -> None:
    """Takes the runs off the carried inverse and notes the slopes for the rises."""
    field, builder = block.field, block.builder

    def slope(group: _Group) -> None:
        inverse = group.product
        own = field.fence(builder, field.multiply(builder, inverse, group.read(BEFORE)))
        # Between the two, as the slope waits for the first and the next group for this.
        group.product = field.fence(builder, field.multiply(builder, inverse, group.read(RUN)))
        gather(group)
        group.write(RISE, field.multiply(builder, group.read(RISE), own))

    block.each(slope, INVERSE)


def _abscissas(block: _Block, run: Callable[[_Group, Any], None]) -> Any:
    """Notes the sums' x for the product before; an i1: whether `run` raised doubts."""
    field, builder = block.field, block.builder

    def abscissa(group: _Group) -> None:
        sum_x = field.abscissa(builder, group.read(RISE), group.read(X), group.read(RUN))
        group.write(BEFORE, sum_x)
        run(group, sum_x)

    return block.each(abscissa)


def _ordinate(group: _Group, back: Any) -> Any:
    """The sum's y, noted; back is x - (the sum's x)."""
    field, builder = group.block.field, group.block.builder
    sum_y = field.ordinate(builder, group.read(RISE), back, group.read(Y))
    group.write(Y, sum_y)
    return sum_y


def _repair(field: Field, builder: Builder, arguments: Sequence[Any]) -> None:
    """Rewrites the notes of lanes for which run = 0 or a point is infinite.

    Equal points have slope 3x^2 / 2y: run = 2y and rise = 3x^2, and with x - y noted for x the formula still takes 2x from
    slope^2; the y that fits it is y - slope * y = y - 3x^2 / 2. A result (X, Y) that is known beforehand comes out of run = 1,
    rise = 0, x = -(X + 1) / 2, y = -Y; infinity is (0, 0).
    """
    slots = [pointer(builder, address) for address in arguments]
    x, y, run, rise = (field.load(builder, slot) for slot in slots)
    zero, one, half = (field.constant(number) for number in (0, 1, HALF))
    y, run, rise = (field.subtract(builder, value, zero) for value in (y, run, rise))

    def negative(value: Any) -> Any:
        return field.subtract(builder, zero, value)

    def choose(mask: Any, yes: Any, no: Any) -> Any:
        return field.choose(builder, mask, yes, no)

    other_x, other_y = field.subtract(builder, x, negative(run)), field.subtract(builder, y, negative(rise))
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
