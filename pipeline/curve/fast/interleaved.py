"""A field several times side by side: a long dependent chain in one part leaves room for the others."""

from collections.abc import Sequence
from typing import Any

from pipeline.curve.fast.emission import offset
from pipeline.curve.fast.field import ENTRY, Builder, Field


class InterleavedField(Field):
    """`ways` copies of a field; a value is a list with one value for each."""

    def __init__(self, field: Field, ways: int) -> None:
        self.name = f"{field.name}{ways}"
        self.lanes = field.lanes * ways
        self.size = field.size * ways
        self._field = field
        self._ways = range(ways)

    @property
    def parts(self) -> list[Field]:
        return [self._field for _ in self._ways]

    def load(self, builder: Builder, address: Any) -> list[Any]:
        field = self._field
        return [field.load(builder, offset(builder, address, field.size * i)) for i in self._ways]

    def store(self, builder: Builder, value: Sequence[Any], address: Any) -> None:
        for i in self._ways:
            self._field.store(builder, value[i], offset(builder, address, self._field.size * i))

    def constant(self, number: int) -> list[Any]:
        return [self._field.constant(number) for _ in self._ways]

    def flatten(self, value: Sequence[Any]) -> list[Any]:
        return [scalar for part in value for scalar in self._field.flatten(part)]

    def unflatten(self, values: list[Any]) -> list[Any]:
        each = len(values) // len(self._ways)
        return [self._field.unflatten(values[each * i : each * (i + 1)]) for i in self._ways]

    def multiply(self, builder: Builder, x: Any, y: Any) -> list[Any]:
        return [self._field.multiply(builder, x[i], y[i]) for i in self._ways]

    def square(self, builder: Builder, x: Any) -> list[Any]:
        return [self._field.square(builder, x[i]) for i in self._ways]

    def subtract(self, builder: Builder, x: Any, y: Any) -> list[Any]:
        return [self._field.subtract(builder, x[i], y[i]) for i in self._ways]

    def difference(self, builder: Builder, x: Any, y: Any) -> list[Any]:
        return [self._field.difference(builder, x[i], y[i]) for i in self._ways]

    def fence(self, builder: Builder, value: Any) -> list[Any]:
        return [self._field.fence(builder, value[i]) for i in self._ways]

    def abscissa(self, builder: Builder, slope: Any, x: Any, run: Any) -> list[Any]:
        return [self._field.abscissa(builder, slope[i], x[i], run[i]) for i in self._ways]

    def ordinate(self, builder: Builder, slope: Any, back: Any, y: Any) -> list[Any]:
        return [self._field.ordinate(builder, slope[i], back[i], y[i]) for i in self._ways]

    def canonical(self, builder: Builder, x: Any) -> list[Any]:
        return [self._field.canonical(builder, x[i]) for i in self._ways]

    def suspicious(self, builder: Builder, x: Any) -> Any:
        found = self._field.suspicious(builder, x[0])
        for part in x[1:]:
            found = builder.or_(found, self._field.suspicious(builder, part))
        return found

    @property
    def quiet(self) -> Any:
        return self._field.quiet

    def doubts(self, builder: Builder, run: Any, x: Any, other_x: Any) -> Any:
        union = self._field.quiet
        for part in zip(run, x, other_x, strict=True):
            union = builder.or_(union, self._field.doubts(builder, *part))
        return union

    def doubtful(self, builder: Builder, doubts: Any) -> Any:
        return self._field.doubtful(builder, doubts)

    def is_zero(self, builder: Builder, x: Any) -> list[Any]:
        return [self._field.is_zero(builder, x[i]) for i in self._ways]

    def parity_differs(self, builder: Builder, x: Any, y: Any) -> list[Any]:
        return [self._field.parity_differs(builder, x[i], y[i]) for i in self._ways]

    def choose(self, builder: Builder, mask: Any, x: Any, y: Any) -> list[Any]:
        return [self._field.choose(builder, mask[i], x[i], y[i]) for i in self._ways]

    def gather(self, builder: Builder, table: Any, indices: Any) -> tuple[list[Any], list[Any]]:
        field = self._field
        points = [field.gather(builder, table, offset(builder, indices, 4 * field.lanes * i)) for i in self._ways]
        return [point[0] for point in points], [point[1] for point in points]

    def scatter(self, builder: Builder, x: Any, y: Any, address: Any) -> None:
        for i in self._ways:
            self._field.scatter(builder, x[i], y[i], offset(builder, address, ENTRY * self._field.lanes * i))
