"""Tables of multiples: of a base for masks, of H for values.

The hidden offset: partial sums of table entries must not be infinite or meet each other often. R is a point whose logarithm nobody
knows; a base's first table holds its points minus R, a value table plus R, so that a sum passes through points that nobody can
predict and the value 0 is an ordinary entry.
"""

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.curve.contract import MAX_VALUE, P, Points
from pipeline.curve.fast.adder import Adder
from pipeline.curve.fast.digits import Windows, ones
from pipeline.curve.fast.field import ENTRY
from pipeline.curve.fast.progression import progressions
from pipeline.curve.fast.single import Point, add, doublings, multiply, negative


def nobodys(name: str) -> Point:
    """A point whose logarithm nobody knows: the first x of a hash chain that is on the curve, y even."""
    digest = hashlib.sha256(b"flfleet curve tables: " + name.encode()).digest()
    while True:
        x = int.from_bytes(digest, "big") % P
        y = pow(x**3 + 7, (P + 1) // 4, P)
        if (y * y - x**3 - 7) % P == 0:
            return x, y if y % 2 == 0 else P - y
        digest = hashlib.sha256(digest).digest()


#: The hidden offset.
R = nobodys("offset")


class BaseTables:
    """The multiples of one base that masks are made of."""

    def __init__(self, adder: Adder, base: Point, windows: Windows) -> None:
        self.windows = windows
        self.ones = ones(windows)
        self._adder = adder
        self._base = base
        powers = doublings(base, windows.first + windows.width * (windows.count - 1))
        starts = powers[windows.first :: windows.width]
        each = 2 ** (windows.width - 1)
        self._others = progressions(adder, starts, [add(start, start) for start in starts], each)
        self._hidden = self._first(negative(R))
        self._plain: Points | None = None
        address = self._others.ctypes.data
        self._addresses = [address + ENTRY * each * i for i in range(len(starts))]

    @property
    def nbytes(self) -> int:
        """Memory."""
        return sum(points.nbytes for points in (self._others, self._hidden, self._plain) if points is not None)

    def hidden(self) -> Sequence[int]:
        """Addresses of the tables, a column each, whose sum is the multiple minus R."""
        return [self._hidden.ctypes.data, *self._addresses]

    def plain(self) -> Sequence[int]:
        """Addresses of the tables, a column each, whose sum is the multiple itself."""
        if self._plain is None:
            self._plain = self._first(None)
        return [self._plain.ctypes.data, *self._addresses]

    def _first(self, shift: Point) -> Points:
        lowest = multiply(1 - 2**self.windows.first, self._base)
        return progressions(self._adder, [add(lowest, shift)], [add(self._base, self._base)], 2**self.windows.first)


@dataclass(frozen=True)
class ValuePlan:
    """Values up to `limit` as `windows` windows of `bits` bits."""

    bits: int
    windows: int

    @property
    def bias(self) -> int:
        """What makes the windows of a value unsigned."""
        return sum(1 << (self.bits * i + self.bits - 1) for i in range(self.windows))

    @property
    def limit(self) -> int:
        """The largest absolute value."""
        return (1 << (self.bits * self.windows)) - 1 - self.bias


#: Short values cost one addition, the common 20 to 25 bits two, 40 bits three.
PLANS = (ValuePlan(16, 1), ValuePlan(13, 2), ValuePlan(14, 3))
#: Values below 2^20 by one addition instead of two. 128 MiB, for those who were asked for as many values as it has points.
LARGE = ValuePlan(21, 1)


class ValueTables:
    """The multiples of H that values are made of; every sum of entries comes out shifted by `shift`."""

    def __init__(
        self,
        adder: Adder,
        generator: Point,
        shift: Point,
        plans: Sequence[ValuePlan] = PLANS,
        large: ValuePlan | None = None,
    ) -> None:
        """`large`: a plan to be taken between the first and the others, once it pays."""
        self._adder = adder
        self._generator = generator
        self._shift = shift
        self._plans = plans
        self._large = large
        #: Values for which it would have saved an addition.
        self._demand = 0
        self._tables: dict[ValuePlan, Points] = {}
        self._lock = threading.Lock()

    def prepare(self, values: NDArray[np.int64]) -> None:
        """Makes the tables that any part of these values needs. Raises ValueError for a value that is too large."""
        needed, large = self._plans_for(values)
        wanted = list(self._plans[: self._plans.index(needed) + 1])
        with self._lock:
            if large is not None:
                self._demand += len(values)
                if self._demand >= 2**large.bits:
                    wanted.append(large)
            for plan in wanted:
                if plan not in self._tables:
                    self._tables[plan] = self._build(plan)

    def plan(self, values: NDArray[np.int64]) -> ValuePlan:
        """The cheapest plan for these values of those that are prepared. Raises ValueError for a value that is too large."""
        needed, large = self._plans_for(values)
        return large if large is not None and large in self._tables else needed

    def _plans_for(self, values: NDArray[np.int64]) -> tuple[ValuePlan, ValuePlan | None]:
        """The cheapest plan that is always there, and the large one where it would be cheaper. Raises ValueError."""
        largest = max(int(values.max()), -int(values.min())) if len(values) else 0
        if largest <= MAX_VALUE:
            for plan in self._plans:
                if largest <= plan.limit:
                    saves = self._large is not None and plan is not self._plans[0] and largest <= self._large.limit
                    return plan, self._large if saves else None
        raise ValueError(f"a value has at most |value| <= 2^{MAX_VALUE.bit_length() - 1}, got {largest}")

    def addresses(self, plan: ValuePlan) -> Sequence[int]:
        """Addresses of the prepared tables, a column for each window."""
        table = self._tables[plan]
        return [table.ctypes.data + ENTRY * 2**plan.bits * i for i in range(plan.windows)]

    def _build(self, plan: ValuePlan) -> Points:
        steps = doublings(self._generator, plan.bits * plan.windows)[:: plan.bits]
        shifts = [nobodys(f"window {i}") for i in range(1, plan.windows)]
        first = self._shift
        for shift in shifts:
            first = add(first, negative(shift))
        starts = [
            add(multiply(-(2 ** (plan.bits - 1)), step), shift)
            for step, shift in zip(steps, [first, *shifts], strict=True)
        ]
        return progressions(self._adder, starts, steps, 2**plan.bits)
