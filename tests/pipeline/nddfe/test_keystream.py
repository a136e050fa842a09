import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.curve.arrays import ints_from_words
from pipeline.curve.contract import Q
from pipeline.curve.select import kernel
from pipeline.nddfe.keystream import keystream, masks, weights, words4
from tests.known_answers import MINER_NAMES, MINERS, raw, support_size, task_of

KEY = bytes(range(32))


def test_the_first_block_is_aes_256_of_zero():
    # FIPS 197's key of appendix C.3 over a zero block, computed with openssl.
    assert keystream(KEY, 0, 16).hex() == "f29000b62a499fd0a9f39a6add2e7780"


@given(start=st.integers(0, 500), size=st.integers(0, 200))
def test_any_piece_is_a_piece_of_the_whole(start, size):
    assert keystream(KEY, start, size) == keystream(KEY, 0, 700)[start : start + size]


@given(first=st.integers(0, 100), count=st.integers(0, 20))
def test_words_of_every_width_start_anywhere(first, count):
    whole = keystream(KEY, 0, 32 * 120)
    for width, found in (
        (32, ints_from_words(masks(kernel("reference"), KEY, first, count))),
        (16, ints_from_words(weights(KEY, first, count))),
        (4, words4(KEY, first, count).tolist()),
    ):
        expected = [int.from_bytes(whole[width * i : width * (i + 1)], "big") for i in range(first, first + count)]
        assert found == [value % Q for value in expected]


@pytest.mark.parametrize(("case", "miner"), MINERS, ids=MINER_NAMES)
def test_first_and_last_mask_are_the_known_ones(case, miner):
    k, last = kernel("reference"), task_of(case).groups(support_size(case))
    for index, name in ((0, "firstMask"), (last, "lastMask")):
        streams = [masks(k, raw(miner[key]), index, 1) for key in ("tpStreamKey", "aggStreamKey")]
        assert ints_from_words(k.add_scalars(streams)) == [int(miner[name], 16)]
