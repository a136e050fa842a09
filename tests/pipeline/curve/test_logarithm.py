import numpy as np

from pipeline.curve.logarithm import LARGEST, SMALLEST, LogarithmTable
from tests.pipeline.curve.contract_suite import G_POINT, H_POINT, textbook_multiply


def test_the_table_grows_by_need_and_only_then():
    table = LogarithmTable()
    assert table.find([textbook_multiply(5, H_POINT)], 100) == [5]
    small = table._table
    assert len(small[0]) == SMALLEST
    table.find([textbook_multiply(5, H_POINT)], SMALLEST**2)
    assert table._table is small
    assert table.find([textbook_multiply(-4_000_000, H_POINT)], 2**22) == [-4_000_000]
    assert SMALLEST < len(table._table[0]) <= LARGEST


def test_every_multiple_of_the_giant_step_is_found():
    table = LogarithmTable()
    table.find([], 1)
    step = 2 * SMALLEST + 1
    numbers = [
        sign * (i * step + off) for i in (1, 2, 3) for off in (-1, 0, 1, SMALLEST, SMALLEST + 1) for sign in (1, -1)
    ]
    assert [table.find([textbook_multiply(number, H_POINT)], 2**13)[0] for number in numbers] == numbers


def test_a_false_hit_costs_time_only():
    table = LogarithmTable()
    table.find([], 1)
    keys, indices = table._table
    # Every key of the table claims g, whose logarithm nobody knows: each claim is checked and thrown away.
    low = np.uint64(G_POINT[0] & (2**64 - 1))
    place = int(np.searchsorted(keys, low))
    table._table = (np.insert(keys, place, low), np.insert(indices, place, 77))
    assert table.find([G_POINT, textbook_multiply(9, H_POINT)], 500) == [None, 9]
