import json
import sys

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import Malformed
from pipeline.protocol.strict import (
    MAX_DEPTH,
    MAX_SAFE_INTEGER,
    bytes_from_base64,
    read_json,
    read_msgpack,
    write_msgpack,
)

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-MAX_SAFE_INTEGER, MAX_SAFE_INTEGER)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
keys = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)


def trees(leaves):
    return st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(keys, inner), max_leaves=10)


@given(trees(scalars))
def test_json_round_trip(value):
    assert read_json(json.dumps(value)) == value


@given(trees(scalars | st.binary()))
def test_msgpack_round_trip(value):
    assert read_msgpack(write_msgpack(value)) == value


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused_as_malformed(data):
    for read in (read_json, read_msgpack):
        try:
            read(data)
        except Malformed:
            continue  # any other exception fails the test


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": 1, "a": 1}', "stands twice"),
        ('{"b": {"a": 1, "a": 2}}', "stands twice"),
        ("NaN", "NaN"),
        ("[Infinity]", "Infinity"),
        ("-Infinity", "Infinity"),
        ("1e999", "infinities"),
        (str(2**53), "2^53"),
        (str(-(2**53)), "2^53"),
        ("9" * 5000, "2^53"),
        ('"\\ud800"', "Unicode"),
        ("[" * (MAX_DEPTH + 2) + "]" * (MAX_DEPTH + 2), "nested deeper"),
        ("[" * 100_000, "not valid JSON"),
        ("{'a': 1}", "not valid JSON"),
        ("1 2", "not valid JSON"),
        ("", "not valid JSON"),
        (b"\xff\xfe\xff", "not valid JSON"),
        ('{"a": 1}'.encode("utf-16"), "not valid JSON"),
        ("[1}", "not valid JSON"),
        ("]", "brackets without their partners"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_json_that_the_protocol_refuses(text, reason):
    with pytest.raises(Malformed) as refusal:
        read_json(text)
    assert reason in str(refusal.value)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "[" * 100_000 + "]" * 100_000, '"]",[' * 100_000])
def test_deep_json_is_refused_before_the_parser_can_run_out_of_stack(text):
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(1_000_000)
    try:
        with pytest.raises(Malformed, match="nested deeper"):
            read_json(text)
    finally:
        sys.setrecursionlimit(limit)


def test_brackets_inside_texts_are_no_nesting():
    for text in ("[" * 50, '"' * 50, '\\"[' * 50, "\\" * 51 + "{" * 50, "ü[" * 50):
        value = {text: [text]}
        assert read_json(json.dumps(value)) == value
        assert read_json(json.dumps(value, ensure_ascii=False).encode()) == value


def test_as_many_levels_as_the_protocol_has_are_read():
    text = "[" * MAX_DEPTH + "1" + "]" * MAX_DEPTH
    assert json.dumps(read_json(text)) == text


def test_the_largest_safe_integer_is_read_in_both():
    for number in (MAX_SAFE_INTEGER, -MAX_SAFE_INTEGER):
        assert read_json(str(number)) == number
        assert read_msgpack(write_msgpack(number)) == number


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x82\xa1a\x01\xa1a\x02", "stands twice"),
        (b"\x81\x01\x02", "not valid msgpack"),
        (b"\x81\xc4\x01a\x02", "keys must be texts"),
        (msgpack.packb(msgpack.ExtType(5, b"x")), "extension type 5"),
        (msgpack.packb(msgpack.Timestamp(1)), ""),
        (msgpack.packb(2**53), "2^53"),
        (msgpack.packb(2**64 - 1), "2^53"),
        (msgpack.packb(float("nan")), "NaN"),
        (msgpack.packb(float("inf")), "infinities"),
        (b"\xa2\xff\xff", "not valid msgpack"),
        (b"\x01\x02", "not valid msgpack"),
        (b"\x93\x01", "not valid msgpack"),
        (b"\xdd\xff\xff\xff\xff", "not valid msgpack"),
        (b"", "not valid msgpack"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_msgpack_that_the_protocol_refuses(data, reason):
    with pytest.raises(Malformed) as refusal:
        read_msgpack(data)
    assert reason in str(refusal.value)


def test_base64_is_read_strictly():
    assert bytes_from_base64("AAEC", "ciphertext") == b"\0\1\2"
    for text in ("AAE", "AA EC", "AAE-", "Ä", "AAEC\n"):
        with pytest.raises(Malformed, match="ciphertext: not valid base64"):
            bytes_from_base64(text, "ciphertext")
