"""Complete batch additions: small multiples of one point, so that sums are equal, opposite and infinite all the time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.curve.fast.kernel import GENERATOR, BatchKernel
from pipeline.curve.fast.single import add, from_points, negative, to_points

MULTIPLES = [None]
for _ in range(30):
    MULTIPLES.append(add(MULTIPLES[-1], GENERATOR))
TABLE = to_points(MULTIPLES)


def multiple(k: int) -> object:
    return MULTIPLES[k] if k >= 0 else negative(MULTIPLES[-k])


@settings(max_examples=60, deadline=None)
@given(data=st.data(), columns=st.integers(2, 6), count=st.integers(1, 70))
def test_any_points_may_meet(kernel: BatchKernel, data: st.DataObject, columns: int, count: int) -> None:
    digit = st.integers(0, 9)
    rows = data.draw(st.lists(st.lists(digit, min_size=count, max_size=count), min_size=columns, max_size=columns))
    chosen = np.array(rows, np.int32)

    def prepare(start: int, stop: int, indices: np.ndarray) -> list[int]:
        indices[:columns, : stop - start] = chosen[:, start:stop]
        return [TABLE.ctypes.data] * columns

    sums = from_points(kernel._adder.columns(count, columns, prepare))
    signed = np.where(chosen & 1, -(chosen >> 1), chosen >> 1).sum(axis=0)
    assert sums == [multiple(int(k)) for k in signed]


#: By column, where ordinary columns are 1, 2, 4, 8: the second, third or last addition meets an equal, opposite or infinite point.
MEETINGS = {
    "equal at first": (2, 2, 4, 8),
    "opposite at first": (1, -1, 4, 8),
    "infinite at first": (0, 0, 4, 8),
    "equal later": (1, 2, 3, 8),
    "opposite later": (1, 2, -3, 8),
    "infinite later": (1, 2, 0, 8),
    "equal at last": (1, 2, 4, 7),
    "opposite at last": (1, 2, 4, -7),
    "infinite at last": (1, 2, 4, 0),
}


@pytest.mark.parametrize("meeting", MEETINGS.values(), ids=MEETINGS)
def test_one_meeting_leaves_the_sums_around_it_right(kernel: BatchKernel, meeting: tuple[int, ...]) -> None:
    count = 20 * kernel._field.lanes + 1
    for place in (0, 1, count // 2, count - 1):
        chosen = np.repeat(np.array([[1], [2], [4], [8]]), count, axis=1)
        chosen[:, place] = meeting

        def prepare(start: int, stop: int, indices: np.ndarray, chosen: np.ndarray = chosen) -> list[int]:
            indices[:4, : stop - start] = (2 * np.abs(chosen) + (chosen < 0))[:, start:stop]
            return [TABLE.ctypes.data] * 4

        sums = from_points(kernel._adder.columns(count, 4, prepare))
        assert sums == [multiple(int(k)) for k in chosen.sum(axis=0)]


@pytest.mark.parametrize("extra", [-1, 0, 1, 5])
def test_counts_around_a_chunk_leave_no_gap(kernel: BatchKernel, extra: int) -> None:
    count = kernel._adder.chunk + extra
    left = 2 * (np.arange(count, dtype=np.int32) % 11)
    right = 2 * (np.arange(count, dtype=np.int32) % 7)
    sums = kernel._adder.pairs(TABLE, left, TABLE, right)
    assert (sums == TABLE[(left + right) // 2]).all()


def test_nothing_is_written_behind_the_last_sum(kernel: BatchKernel) -> None:
    out = np.full((9, 8), 7, np.uint64)
    ones = np.full(5, 2, np.int32)
    kernel._adder.pairs(TABLE, ones, TABLE, ones, out=out[:5])
    assert (out[:5] == TABLE[2]).all()
    assert (out[5:] == 7).all()
