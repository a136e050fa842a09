import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.compress import naive_support
from pipeline.aggregation.support import next_support
from pipeline.errors import Malformed
from pipeline.nddfe.keystream import keystream
from pipeline.protocol.encodings import bitmap_from_indices, indices_from_bitmap, sha256
from tests.known_answers import CASES, NAMES, maybe_raw, raw, task_of


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_the_next_support_is_the_known_one(case):
    task = task_of(case)
    wishes = [maybe_raw(miner["wish"]) for miner in case["miners"]]
    assert next_support(task.task_id, task.round + 1, task.dimension, task.ratio, wishes) == raw(case["nextSupport"])


@pytest.mark.parametrize("case", [case for case in CASES if case["support"]], ids=lambda case: case["name"])
def test_the_task_s_support_comes_from_the_wishes_of_the_round_before(case):
    task = task_of(case)
    wishes = [raw(wish) for wish in case["wishesBefore"]]
    assert next_support(task.task_id, task.round, task.dimension, task.ratio, wishes) == raw(case["support"])


@st.composite
def elections(draw):
    dimension = draw(st.integers(1, 40))
    wishes = draw(st.lists(st.none() | st.sets(st.integers(0, dimension - 1)), max_size=4))
    return dimension, draw(st.floats(0.01, 1)), wishes


@given(elections())
def test_most_votes_then_smaller_word_then_smaller_index(election):
    dimension, ratio, wishes = election
    seed = sha256(b"ndd-fe/1 support\x00\x01t" + (5).to_bytes(8, "big"))
    stream = keystream(seed, 0, 4 * dimension)
    order = sorted(
        range(dimension), key=lambda j: (-sum(j in (wish or ()) for wish in wishes), stream[4 * j : 4 * j + 4], j)
    )
    bitmaps = [None if wish is None else bitmap_from_indices(sorted(wish), dimension) for wish in wishes]
    found = indices_from_bitmap(next_support("t", 5, dimension, ratio, bitmaps), dimension)
    assert found.tolist() == sorted(order[: int(np.ceil(ratio * dimension))])


def test_equal_words_go_to_the_smaller_index(monkeypatch):
    monkeypatch.setattr(
        "pipeline.aggregation.support.words4", lambda _key, _first, count: np.zeros(count, dtype=np.uint32)
    )
    assert indices_from_bitmap(next_support("t", 2, 10, 0.3, [bitmap_from_indices([7], 10)]), 10).tolist() == [0, 1, 7]


def test_a_wish_of_another_length_is_refused():
    with pytest.raises(Malformed, match="expected 2 bytes for 9 bits, got 1"):
        next_support("t", 2, 9, 0.5, [b"\0"])


@given(elections())
def test_chunks_change_no_bit(election):
    dimension, ratio, wishes = election
    bitmaps = [bitmap_from_indices(sorted(wish), dimension) for wish in wishes if wish is not None]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.learning.selection.CHUNK", 8)
        assert next_support("t", 5, dimension, ratio, bitmaps) == naive_support("t", 5, dimension, ratio, bitmaps)
