import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.curve.contract import P, Q
from pipeline.errors import Malformed
from pipeline.protocol.encodings import (
    address_from_text,
    address_of,
    bitmap_from_indices,
    ceil_ratio,
    checked_point33,
    from_hex,
    indices_from_bitmap,
    point33_from_public_key,
    public_key_text,
    scalar_from_hex,
    scalar_to_hex,
    to_hex,
)
from tests.known_answers import MINERS, raw, secret

G33 = bytes.fromhex("0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798")


@given(st.binary(max_size=40))
def test_hex_round_trip(data):
    assert from_hex(to_hex(data)) == data
    assert from_hex(to_hex(data), len(data)) == data


@pytest.mark.parametrize("text", ["", "00", "0X00", "0x0", "0xAB", "0xgg", " 0x00", "0x00\n", "0x٠٠"])
def test_hex_in_another_form_is_refused(text):
    with pytest.raises(Malformed, match="scoreCommit: expected 0x"):
        from_hex(text, what="scoreCommit")


def test_hex_of_another_length_says_expected_and_got():
    with pytest.raises(Malformed, match="expected 32 bytes, got 31"):
        from_hex("0x" + "00" * 31, 32)


@given(st.integers(0, Q - 1))
def test_scalar_round_trip(value):
    assert scalar_from_hex(scalar_to_hex(value)) == value


@pytest.mark.parametrize("value", [Q, Q + 1, 2**256 - 1])
def test_a_scalar_that_is_not_below_q_is_refused(value):
    with pytest.raises(Malformed, match="not below the group's order"):
        scalar_from_hex(scalar_to_hex(value))


@pytest.mark.parametrize(("_case", "miner"), MINERS[:5])
def test_known_keys_and_addresses(_case, miner):
    header, key = miner["header"], secret(miner["secretKey"])
    assert point33_from_public_key(header["minerPublicKey"]) == key.point33
    assert public_key_text(key.point33) == header["minerPublicKey"]
    assert address_of(key.point33) == header["miner"] == key.address


def test_a_public_key_is_read_with_prefix_and_in_either_case():
    x, y = public_key_text(G33).split(",")
    for text in (f"0x{x},0x{y}", f"0X{x},{y}", f"{x.upper()},{y}"):
        assert point33_from_public_key(text) == G33


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1,2",
        public_key_text(G33) + " ",
        public_key_text(G33).replace(",", ";"),
        "0" * 64 + "," + "0" * 64,
        f"{P:064x}" + "," + "0" * 64,
        public_key_text(G33)[:-1] + "0",
    ],
)
def test_a_public_key_that_is_none_is_refused(text):
    with pytest.raises(Malformed, match="tpPublicKey"):
        point33_from_public_key(text, "tpPublicKey")


@pytest.mark.parametrize(
    "point33", [b"", G33[:-1], G33 + b"\0", b"\x04" + G33[1:], b"\x00" + G33[1:], b"\x02" + (5).to_bytes(32, "big")]
)
def test_a_point_that_is_none_is_refused(point33):
    with pytest.raises(Malformed, match="maskKey"):
        checked_point33(point33, "maskKey")


@pytest.mark.parametrize("text", ["0x" + "A" * 40, "0x" + "a" * 39, "a" * 40, "0x" + "a" * 41, ""])
def test_an_address_in_another_form_is_refused(text):
    with pytest.raises(Malformed, match="40 lower-case hex digits"):
        address_from_text(text)


def test_k_is_the_ceiling_in_ieee_double():
    assert ceil_ratio(0.07, 100) == 8
    assert ceil_ratio(1, 17) == 17
    assert ceil_ratio(0.1, 17) == 2


@st.composite
def bitmaps(draw):
    dimension = draw(st.integers(1, 40))
    return dimension, sorted(draw(st.sets(st.integers(0, dimension - 1))))


@given(bitmaps())
def test_bitmap_round_trip(example):
    dimension, indices = example
    bitmap = bitmap_from_indices(indices, dimension)
    assert int.from_bytes(bitmap, "little") == sum(1 << j for j in indices)
    assert indices_from_bitmap(bitmap, dimension).tolist() == indices


def test_bitmaps_of_the_edges():
    assert bitmap_from_indices(np.array([], dtype=np.int64), 9) == b"\0\0"
    assert indices_from_bitmap(raw("0x804000"), 17).tolist() == [7, 14]


def test_spare_bits_and_other_lengths_of_a_bitmap_are_refused():
    with pytest.raises(Malformed, match="spare bits"):
        indices_from_bitmap(b"\0\x02", 9)
    with pytest.raises(Malformed, match="expected 2 bytes for 9 bits, got 3"):
        indices_from_bitmap(bytes(3), 9)
