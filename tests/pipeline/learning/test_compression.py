import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.compress import naive_compress, naive_wish, peak
from pipeline.errors import Rejected
from pipeline.learning.compression import Compressed, compress, returned, wish
from pipeline.learning.selection import CHUNK
from pipeline.protocol.encodings import indices_from_bitmap

floats = st.floats(-1, 1, width=32)


def array(*values):
    return np.array(values, dtype=np.float32)


def test_halves_go_to_the_even_integer():
    assert compress(array(0.5, 1.5, 2.5, -0.5, -1.5), np.zeros(5, np.float32), None, scale=1, clip=9).values.tolist() == [
        0, 2, 2, 0, -2,
    ]  # fmt: skip


def test_what_is_clipped_or_rounded_off_waits_in_the_residual():
    out = compress(array(0.5, 0.031), np.zeros(2, np.float32), None, scale=50, clip=0.06)
    assert out.values.tolist() == [3, 2]
    assert out.residual.tolist() == [np.float32(0.5 - 3 / 50), np.float32(np.float64(np.float32(0.031)) - 2 / 50)]
    assert out.values.dtype == np.int32
    assert out.residual.dtype == np.float32


def test_outside_the_support_everything_waits():
    out = compress(array(1, 2, 3), array(0.5, 0, -1), np.array([1]), scale=10, clip=5)
    assert out.values.tolist() == [20]
    assert out.residual.tolist() == [1.5, 0, 2]


def test_values_beyond_32_bits_are_refused():
    with pytest.raises(Rejected, match="beyond 32 bits"):
        compress(array(1), array(0), None, scale=2**31, clip=1.0)


@given(
    st.lists(st.tuples(floats, floats, st.booleans()), min_size=1, max_size=30),
    st.integers(1, 2**20),
    st.floats(0.01, 2),
)
def test_nothing_is_lost_and_no_value_is_beyond_the_level(rows, scale, clip):
    delta, residual = array(*(row[0] for row in rows)), array(*(row[1] for row in rows))
    support = np.flatnonzero([row[2] for row in rows])
    before = delta.copy(), residual.copy()
    out = compress(delta, residual, support, scale=scale, clip=clip)
    assert (np.abs(out.values) <= np.floor(clip * scale + 0.5)).all()
    sent = np.zeros(len(rows))
    sent[support] = out.values / scale
    assert np.allclose(sent + out.residual, delta.astype(float) + residual, atol=1e-6)
    assert np.array_equal(before[0], delta)
    assert np.array_equal(before[1], residual)


def wished(values, ratio):
    """The wish over these magnitudes, half of each in delta."""
    half = array(*values) / 2
    return indices_from_bitmap(wish(half, half, ratio), len(values)).tolist()


def test_the_largest_are_wished_for():
    assert wished([0.1, 5, 0.2, -9, 3], 0.6) == [1, 3, 4]
    assert wish(array(1, -1), array(-1, 1), 1.0) == b"\x00"


def test_the_share_is_rounded_up():
    assert len(wished(range(1, 101), 0.07)) == 8


def test_ties_go_to_the_smaller_index():
    assert wished([1, 2, 1, 1, 2], 0.6) == [0, 1, 4]


def test_zeros_are_never_wished_for():
    assert wished([0, -0.0, 3, 0], 0.75) == [2]
    assert wished([0, 0], 1.0) == []


@given(st.lists(st.integers(0, 6), min_size=1, max_size=40), st.floats(0.01, 1))
def test_a_wish_is_a_stable_sort_cut_off(values, ratio):
    by_size = sorted((index for index, value in enumerate(values) if value), key=lambda index: (-values[index], index))
    assert wished(values, ratio) == sorted(by_size[: math.ceil(ratio * len(values))])


VALUES, SUPPORT = np.array([1, -2, 3, 4, 5], dtype=np.int32), np.array([0, 2, 3, 5, 6])


def back(dropped, residual=0.0):
    return returned(np.full(8, residual, np.float32), VALUES, SUPPORT, scale=10, pack=2, dropped=dropped).tolist()


def test_an_accepted_update_leaves_nothing_behind_but_the_residual():
    assert back([], 0.5) == [0.5] * 8


def test_dropped_groups_come_back_also_the_short_last_one():
    assert back([1]) == array(0, 0, 0, 0.3, 0, 0.4, 0, 0).tolist()
    assert back([0, 2]) == array(0.1, 0, -0.2, 0, 0, 0, 0.5, 0).tolist()
    assert back([3, 999]) == [0] * 8


def test_an_update_that_is_in_no_sum_comes_back_whole_on_top_of_the_residual():
    assert back(None, 1.0) == array(1.1, 1, 0.8, 1.3, 1, 1.4, 1.5, 1).tolist()


def test_without_a_support_all_coordinates_count():
    assert (
        returned(np.zeros(5, np.float32), VALUES, None, scale=10, pack=5, dropped=[0]).tolist()
        == array(0.1, -0.2, 0.3, 0.4, 0.5).tolist()
    )


@st.composite
def updates(draw):
    count = draw(st.integers(1, 60))
    rows = st.lists(st.sampled_from([0.0, -0.0, 0.5, -0.5, 1.0]) | floats, min_size=count, max_size=count)
    delta, residual = array(*draw(rows)), array(*draw(rows))
    support = draw(st.none() | st.sets(st.integers(0, count - 1)))
    return delta, residual, None if support is None else np.array(sorted(support), dtype=np.int64)


@given(updates(), st.floats(0.01, 1))
def test_chunks_change_no_bit(update, ratio):
    delta, residual, support = update
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.learning.selection.CHUNK", 8)
        ours = compress(delta, residual, support, scale=50, clip=0.6)
        naive = naive_compress(delta, residual, support, scale=50, clip=0.6)
        assert ours.values.tobytes() == naive.values.tobytes()
        assert ours.residual.tobytes() == naive.residual.tobytes()
        assert wish(residual, delta, ratio) == naive_wish(residual, delta, ratio)


@given(updates(), st.none() | st.lists(st.integers(0, 20), max_size=5))
def test_what_comes_back_is_the_same_in_chunks(update, dropped):
    residual, _, support = update
    values = np.arange(-5, len(residual) - 5 if support is None else len(support) - 5, dtype=np.int32)
    whole = returned(residual, values, support, scale=7, pack=3, dropped=dropped)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.learning.selection.CHUNK", 8)
        assert returned(residual, values, support, scale=7, pack=3, dropped=dropped).tobytes() == whole.tobytes()


def test_memory_beyond_the_results_does_not_grow_with_the_dimension():
    def beyond(count: int) -> int:
        delta = np.random.default_rng(1).normal(0, 1, count).astype(np.float32)
        into = Compressed(values=np.empty(count, np.int32), residual=np.empty(count, np.float32))
        compress(delta, delta, None, scale=50, clip=0.06, into=into)
        used = peak(lambda: compress(delta, delta, None, scale=50, clip=0.06, into=into))
        return max(used, peak(lambda: wish(delta, delta, 0.1)) - count // 4)

    assert beyond(6 * CHUNK) < 1.1 * beyond(2 * CHUNK)
