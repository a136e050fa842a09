from fractions import Fraction
from math import isqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.nddfe.score import commitment, score_bound, score_uint
from tests.known_answers import MINER_NAMES, MINERS, raw, secret, task_of


@pytest.mark.parametrize(("case", "miner"), MINERS, ids=MINER_NAMES)
def test_score_and_commitment_are_the_known_ones(case, miner):
    task = task_of(case)
    score = score_uint(np.array(miner["values"], dtype=np.int32), task.quantization.scale)
    assert str(score) == miner["score"]
    found = commitment(score, raw(miner["nonce"]), task.task_id, secret(miner["secretKey"]).address)
    assert found == raw(miner["header"]["scoreCommit"])
    assert score <= score_bound(len(miner["values"]), task.level, task.quantization.scale)


@given(values=st.lists(st.integers(-(2**40), 2**40), max_size=30), scale=st.integers(1, 2**31))
def test_the_score_is_exact_where_squares_do_not_fit_into_64_bits(values, scale):
    exact = isqrt(int(Fraction(sum(v * v for v in values) * 10**12, scale**2)))
    assert score_uint(np.array(values, dtype=np.int64), scale) == exact


def test_a_vector_at_the_limit_reaches_the_bound():
    assert score_uint(np.array([-3] * 22), 50) == score_bound(22, 3, 50)


def test_a_nonce_of_another_length_is_refused():
    with pytest.raises(ValueError, match="32 bytes, got 31"):
        commitment(1, bytes(31), "task", "0x" + "00" * 20)
