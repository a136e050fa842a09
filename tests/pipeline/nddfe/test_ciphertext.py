import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.curve.select import kernel
from pipeline.errors import Malformed
from pipeline.nddfe.ciphertext import Ciphertext
from tests.known_answers import MINERS, raw

K = kernel("reference")
#: Some thirty points.
DATA = b"".join(raw(miner["ciphertext"])[: 32 * 4] for _, miner in MINERS)[: 32 * 24]
COUNT = len(DATA) // 32
WHOLE = DATA + bytes([0b10110101, 0b01101110, 0b11010011][: COUNT // 8])


@given(st.integers(0, COUNT), st.integers(0, COUNT))
def test_a_part_is_what_the_whole_has_there(first, last):
    first, last = sorted((first, last))
    whole = K.read_points32(WHOLE, COUNT)
    part = Ciphertext(memoryview(WHOLE), COUNT).read(K, first, last - first)
    assert (part == whole[first:last]).all()


def test_pieces_are_the_whole(monkeypatch):
    monkeypatch.setattr("pipeline.nddfe.mask_sum.CHUNK", 5)
    points = [point for piece in Ciphertext(WHOLE, COUNT).pieces(K) for point in piece.tolist()]
    assert points == K.read_points32(WHOLE, COUNT).tolist()


def test_a_wrong_length_and_spare_bits_are_refused_before_a_point_is_read():
    with pytest.raises(Malformed, match=f"expected {len(WHOLE) - 32} bytes for {COUNT - 1} points, got {len(WHOLE)}"):
        Ciphertext(WHOLE, COUNT - 1)
    with pytest.raises(Malformed, match="spare bits"):
        Ciphertext(bytes(32 * 3) + b"\x08", 3)


def test_a_bad_point_says_from_where_it_was_counted():
    bad = WHOLE[: 32 * 9] + b"\xff" * 32 + WHOLE[32 * 10 :]
    with pytest.raises(Malformed, match="from point 8 on: points: x at index 1"):
        Ciphertext(bad, COUNT).read(K, 8, 4)
    with pytest.raises(Malformed, match=r"^points: x at index 9"):
        Ciphertext(bad, COUNT).read(K, 0, COUNT)
