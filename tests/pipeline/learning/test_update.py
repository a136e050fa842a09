import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.learning.update import apply_update
from pipeline.protocol.encodings import indices_from_bitmap, keccak256, to_hex
from tests.known_answers import CASES, maybe_raw, task_of


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_the_known_sums_make_the_known_models(case):
    task = task_of(case)
    old = np.array(case["oldModel"], dtype=np.float32)
    sums = np.array([int(value) for value in case["aggregate"]], dtype=np.int64)
    bitmap = maybe_raw(case["support"])
    support = None if bitmap is None else indices_from_bitmap(bitmap, task.dimension)
    new = apply_update(old, sums, support, len(case["miners"]), task.quantization.scale)
    assert new.tobytes() == np.array(case["newModel"], dtype=np.float32).tobytes()
    assert to_hex(keccak256(sums.tobytes())) == case["signed"]["block"]["body"]["aggregateHash"]


def test_coordinates_outside_the_support_keep_their_bits():
    old = np.array([-0.0, 1e-45, 3.0, 0.1], dtype=np.float32)
    new = apply_update(old, np.array([6], dtype=np.int64), np.array([2]), 3, 2)
    assert new.tobytes() == np.array([-0.0, 1e-45, 2.0, 0.1], dtype=np.float32).tobytes()
    assert old[2] == 3.0


def test_sums_that_do_not_fit_the_support_are_refused():
    with pytest.raises(ValueError, match="2 sums for 1 coordinates"):
        apply_update(np.zeros(4, np.float32), np.zeros(2, np.int64), np.array([1]), 3, 50)


@given(
    st.floats(-1e6, 1e6, width=32),
    st.integers(-(2**40), 2**40),
    st.integers(1, 1000),
    st.integers(1, 2**31),
)
def test_an_update_is_one_division_in_double(weight, total, participants, scale):
    new = apply_update(np.array([weight], np.float32), np.array([total]), None, participants, scale)
    assert new[0] == np.float32(float(weight) - total / (participants * scale))
