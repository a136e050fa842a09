import coincurve
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.curve.fast.kernel import GENERATOR, BatchKernel
from pipeline.curve.fast.single import add, multiply, to_points
from pipeline.curve.fast.tables import LARGE, PLANS, R, ValuePlan, ValueTables

SHORT, LONG, ONCE = ValuePlan(6, 1), ValuePlan(5, 3), ValuePlan(9, 1)


@pytest.fixture
def tables(kernel: BatchKernel) -> ValueTables:
    return ValueTables(kernel._adder, GENERATOR, R, (SHORT, LONG), ONCE)


def upto(limit: int, count: int = 1) -> NDArray[np.int64]:
    return np.full(count, -limit, np.int64)


def test_the_large_table_is_made_once_as_many_values_were_asked_for_as_it_holds(tables: ValueTables) -> None:
    middle = upto(ONCE.limit, 2**8)
    tables.prepare(middle)
    assert tables.plan(middle) == LONG
    # What another plan serves as well is no reason to make it.
    tables.prepare(upto(SHORT.limit, 2**12))
    tables.prepare(upto(ONCE.limit + 1, 2**12))
    assert tables.plan(middle) == LONG
    tables.prepare(middle)
    assert tables.plan(middle) == ONCE
    assert tables.plan(upto(SHORT.limit)) == SHORT
    assert tables.plan(upto(ONCE.limit + 1)) == LONG


def test_every_entry_of_the_large_table_is_its_value_shifted(tables: ValueTables) -> None:
    tables.prepare(upto(ONCE.limit, 2**9))
    entries = tables._tables[ONCE]
    expected = [add(multiply(value, GENERATOR), R) for value in range(-(2**8), 2**8)]
    assert (entries == to_points(expected)).all()


def test_points_are_the_same_with_and_without_the_large_table(kernel: BatchKernel) -> None:
    fresh = BatchKernel(kernel.name, kernel._cache_dir)
    limit = LARGE.limit
    rng = np.random.default_rng(7)
    values = np.concatenate([rng.integers(-limit, limit + 1, 1000), [0, 1, -1, limit, -limit]])
    masks = fresh.reduce(rng.bytes(32 * len(values)))
    base = coincurve.PrivateKey.from_int(5).public_key.format()
    before = fresh.encrypt(base, masks, values)
    assert fresh._values.plan(values) == PLANS[1]
    fresh._values.prepare(upto(limit, 2**LARGE.bits))
    assert fresh._values.plan(values) == LARGE
    assert (fresh.encrypt(base, masks, values) == before).all()
