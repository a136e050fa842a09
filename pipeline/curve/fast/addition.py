"""The step of a batch affine addition, complete: any two points, equal, opposite or infinite.

The sum of (x, y) and (x', y') needs 1 / (x' - x). A batch shares one inversion (Montgomery's trick): going through the groups of
lanes, `start` notes the product of all runs x' - x so far; the last product is inverted; going back, `finish` splits the inverse
of each run off. 5M + 1S an addition. Between two columns of a sum both passes are one, `step`: finish the addition of column
t and start that of column t + 1, in one read and write of the group's notes, each sweep in the opposite direction of the last.

Completeness costs three compares: where some lane's run or abscissa looks like zero, `_repair` rewrites that lane's notes so that
the ordinary formulas (slope = rise / run; X = slope^2 - 2x - run; Y = slope (x - X) - y) give the right sum all the same.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from llvmlite import ir

from pipeline.curve.contract import P
from pipeline.curve.fast.emission import I8, I64, counted, internal, offset, pointer, prefetch, routine
from pipeline.curve.fast.field import ENTRY, Builder, Field

#: A group's notes: x and y of the accumulated point, run, rise, and the product of the runs before this group's.
X, Y, RUN, RISE, BEFORE = range(5)
NOTES = 5
#: Groups that go through a pass together: enough to hide the multiplications' latency, few enough for the first-level cache (8
#: groups' notes are 13 KiB).
BLOCK = 8
#: What a sweep carries, then a block's own memory: whether a group needs repair (a byte each), the y of its second point.
INVERSE, PRODUCT, DOUBTS, OTHER = range(4)
STATE = 3 + BLOCK
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

    def note(group: "_Group") -> None:
        for table, ahead in ((left, left_ahead), (right, right_ahead)):
            _prefetch(field, builder, table, group.indices(ahead), range(field.lanes))
        _take_run(group)
        x, y = field.gather(builder, left, group.indices(left_indices))
        other_x, other_y = field.gather(builder, right, group.indices(right_indices))
        run = field.difference(builder, other_x, x)
        rise = field.difference(builder, other_y, y)
        for slot, value in ((X, x), (Y, y), (RUN, run), (RISE, rise)):
            group.write(slot, value)
        _repair_where(group, _doubt(field, builder, run, x, other_x))

    block.each(note, PRODUCT)


def _step(field: Field, builder: Builder, arguments: Sequence[Any]) -> None:
    notes, state, table, indices, ahead = (pointer(builder, address) for address in arguments[:5])
    block = _Block(field, builder, notes, state, *arguments[5:])

    def gather(group: "_Group") -> None:
        other_x, other_y = field.gather(builder, table, group.indices(indices))
        group.write(BEFORE, other_x)
        field.store(builder, other_y, group.aside(OTHER))

    def runs(group: "_Group") -> None:
        other_x, sum_x = group.read(BEFORE), group.read(RUN)
        run = field.difference(builder, other_x, sum_x)
        group.write(RUN, run)
        group.doubt(_doubt(field, builder, run, sum_x, other_x))

    def note(group: "_Group", sum_y: Any) -> None:
        group.write(RISE, field.difference(builder, field.load(builder, group.aside(OTHER)), sum_y))
        _repair_where(group, group.doubted())

    # Spread over the loops: the processor keeps only so many lines on their way.
    def fetch(group: "_Group", part: int) -> None:
        lanes = range(field.lanes * part // 4, field.lanes * (part + 1) // 4)
        _prefetch(field, builder, table, group.indices(ahead), lanes)

    _slopes(block, fetch, gather)
    _abscissas(block, fetch, runs)

    def ordinate(group: "_Group") -> None:
        fetch(group, 3)
        back = group.read(BEFORE)
        _take_run(group)
        note(group, _ordinate(group, back))

    block.each(ordinate, PRODUCT)


def _finish(field: Field, builder: Builder, arguments: Sequence[Any]) -> None:
    notes, state, out = (pointer(builder, address) for address in arguments[:3])
    block = _Block(field, builder, notes, state, *arguments[3:])
    _slopes(block, lambda group, part: None, lambda group: None)
    _abscissas(block, lambda group, part: None, lambda group: None)

    def ordinate(group: "_Group") -> None:
        sum_y = _ordinate(group, group.read(BEFORE))
        field.scatter(builder, group.read(X), sum_y, group.place(out, ENTRY * field.lanes))

    block.each(ordinate)


class _Group:
    """One turn of a pass: a group's notes, and what the pass carries."""

    def __init__(self, block: "_Block", turn: Any, number: Any, product: Any) -> None:
        self.block = block
        self.turn = turn
        self.number = number
        self.product = product
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

    def doubt(self, whether: Any) -> None:
        builder = self.block.builder
        place = offset(builder, offset(builder, self.block.state, DOUBTS * self.block.field.size), self.turn)
        builder.store(builder.zext(whether, I8), place)

    def doubted(self) -> Any:
        builder = self.block.builder
        place = offset(builder, offset(builder, self.block.state, DOUBTS * self.block.field.size), self.turn)
        return builder.icmp_unsigned("!=", builder.load(place, typ=I8), ir.Constant(I8, 0))

    def slot(self, slot: int) -> Any:
        return offset(self.block.builder, self.notes, slot * self.block.field.size)

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

    def each(self, work: Callable[[_Group], None], carried: int | None = None) -> None:
        """A loop over the groups; `carried` names the state that it takes along in registers, as `product` of the group."""
        field, builder = self.field, self.builder
        slot = None if carried is None else offset(builder, self.state, carried * field.size)
        initial = [] if slot is None else field.flatten(field.load(builder, slot))
        zero = ir.Constant(I64, 0)
        with counted(builder, self.count, [zero, zero, *initial]) as ((turn, number, *current), following):
            group = _Group(self, turn, number, field.unflatten(current) if current else None)
            work(group)
            following += [builder.add(turn, ir.Constant(I64, 1)), builder.add(number, self.onwards)]
            if slot is not None:
                following += field.flatten(group.product)
        if slot is not None:
            field.store(builder, field.unflatten(following[2:]), slot)


def _prefetch(field: Field, builder: Builder, table: Any, indices: Any, lanes: range) -> None:
    for lane in lanes:
        prefetch(builder, field.lane_entry(builder, table, indices, lane))


def _take_run(group: _Group) -> None:
    """Takes the run of the group before this one, which is settled by now, into the product that this group notes."""
    field, builder = group.block.field, group.block.builder
    back = builder.mul(group.block.onwards, ir.Constant(I64, -NOTES * field.size))
    run = field.load(builder, offset(builder, group.slot(RUN), back))
    group.product = field.fence(builder, field.multiply(builder, group.product, run))
    group.write(BEFORE, group.product)


def _doubt(field: Field, builder: Builder, run: Any, x: Any, other_x: Any) -> Any:
    return builder.or_(
        field.suspicious(builder, run), builder.or_(field.suspicious(builder, x), field.suspicious(builder, other_x))
    )


def _repair_where(group: _Group, doubt: Any) -> None:
    field, builder = group.block.field, group.block.builder
    with builder.if_then(doubt, likely=False):
        for i, part in enumerate(field.parts):
            slots = [offset(builder, group.slot(slot), i * part.size) for slot in (X, Y, RUN, RISE)]
            function = internal(builder.module, f"repair_{part.name}", len(slots), partial(_repair, part))
            builder.call(function, [builder.ptrtoint(slot, function.args[0].type) for slot in slots])


def _slopes(block: _Block, fetch: Callable[[_Group, int], None], gather: Callable[[_Group], None]) -> None:
    """Takes the runs off the carried inverse and notes the slopes for the rises.

    One multiplication after the other for all groups of the block, not one group after the other: a group's own multiplications
    wait for each other, and the processor does not look far enough ahead to fill the gap with those of the next group.
    """
    field, builder = block.field, block.builder

    def own_inverse(group: _Group) -> None:
        fetch(group, 0)
        inverse = group.product
        # The next group waits for this product, so it comes first.
        group.product = field.fence(builder, field.multiply(builder, inverse, group.read(RUN)))
        before = field.fence(builder, group.read(BEFORE))
        group.write(BEFORE, field.multiply(builder, inverse, before))

    def slope(group: _Group) -> None:
        fetch(group, 1)
        group.write(RISE, field.multiply(builder, group.read(RISE), group.read(BEFORE)))
        gather(group)

    block.each(own_inverse, INVERSE)
    block.each(slope)


def _abscissas(block: _Block, fetch: Callable[[_Group, int], None], runs: Callable[[_Group], None]) -> None:
    """The sums' x, which `runs` finds noted for the runs; then x - (the sum's x) is noted for the product."""
    field, builder = block.field, block.builder

    def abscissa(group: _Group) -> None:
        fetch(group, 2)
        group.write(RUN, field.abscissa(builder, group.read(RISE), group.read(X), group.read(RUN)))

    def differences(group: _Group) -> None:
        sum_x = group.read(RUN)
        back = field.difference(builder, group.read(X), sum_x)
        group.write(X, sum_x)
        runs(group)
        group.write(BEFORE, back)

    block.each(abscissa)
    block.each(differences)


def _ordinate(group: _Group, back: Any) -> Any:
    """The sum's y, noted."""
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
    run, rise = field.subtract(builder, run, zero), field.subtract(builder, rise, zero)

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
