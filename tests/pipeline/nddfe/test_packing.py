import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.nddfe.packing import pack, unpack
from tests.known_answers import CASES, MINER_NAMES, MINERS, NAMES, groups_of, task_of


@pytest.mark.parametrize(("case", "miner"), MINERS, ids=MINER_NAMES)
def test_values_pack_to_the_known_groups(case, miner):
    task = task_of(case)
    packed = pack(np.array(miner["values"]), task.base, task.quantization.pack)
    assert packed.dtype == np.int64
    assert packed.tolist() == miner["packed"]


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_the_plain_sum_of_groups_unpacks_to_the_known_aggregate(case):
    task, n = task_of(case), len(case["miners"])
    total = np.sum([groups_of(case, miner) for miner in case["miners"]], axis=0)
    found = np.abs(total) <= task.sum_bound(n)
    values, dropped = unpack(
        np.where(found, total, 0),
        found,
        base=task.base,
        size=task.quantization.pack,
        count=len(case["aggregate"]),
        limit=n * task.level,
    )
    assert values.tolist() == case["aggregate"]
    assert dropped == case["dropped"]


@st.composite
def sums(draw):
    size, limit = draw(st.integers(1, 5)), draw(st.integers(1, 100))
    return size, limit, draw(st.lists(st.integers(-limit, limit), max_size=23))


@given(sums())
def test_what_is_packed_within_the_limit_unpacks(example):
    size, limit, values = example
    base = 2 * limit + 1
    packed = pack(np.array(values, dtype=np.int64), base, size)
    assert len(packed) == -(-len(values) // size)
    found = np.ones(len(packed), dtype=bool)
    back, dropped = unpack(packed, found, base=base, size=size, count=len(values), limit=limit)
    assert back.tolist() == values
    assert dropped == []


def unpack_two_groups(packed, found=(True, True), count=4):
    return unpack(np.array(packed), np.array(found), base=31, size=2, count=count, limit=9)


@pytest.mark.parametrize(
    ("packed", "found", "why"),
    [
        ([5 + 31, 0], (True, False), "not found"),
        ([5 + 31, 10], (True, True), "a digit beyond n*c"),
        ([5 + 31, -10 * 31], (True, True), "a negative digit beyond n*c"),
        ([5 + 31, 31**2], (True, True), "something above the last digit"),
    ],
)
def test_a_bad_group_is_dropped_whole_and_named(packed, found, why):
    values, dropped = unpack_two_groups(packed, found)
    assert dropped == [1], why
    assert values.tolist() == [5, 1, 0, 0]


def test_a_filling_digit_that_is_not_zero_drops_the_last_group():
    values, dropped = unpack_two_groups([5 + 31, 3 + 31], count=3)
    assert dropped == [1]
    assert values.tolist() == [5, 1, 0]
