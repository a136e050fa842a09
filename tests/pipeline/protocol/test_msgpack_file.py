"""A message in a file is the one that it is in memory: read alike, refused alike, written in the same bytes."""

import tempfile
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import Malformed
from pipeline.protocol import msgpack_file
from pipeline.protocol.file_bytes import FileBytes
from pipeline.protocol.msgpack_file import joined, message_parts, read_message
from pipeline.protocol.strict import read_msgpack, write_msgpack

bodies = st.one_of(st.binary(max_size=40), st.sampled_from([255, 256, 65535, 65536]).map(bytes))
small = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**53) + 1, 2**53 - 1), st.text(max_size=40)),
    lambda inner: st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
messages = st.dictionaries(
    st.text(max_size=4),
    st.one_of(bodies, small, st.lists(st.one_of(bodies, st.none(), small), max_size=20)),
    max_size=20,
)


def read(data: bytes) -> Any:
    """From a file; what stayed there is brought back."""
    with tempfile.TemporaryFile() as file:
        file.write(data)
        found = read_message(FileBytes.of(file))
    return {name: brought(value) for name, value in found.items()}


def brought(value: Any) -> Any:
    if isinstance(value, list):
        return [brought(entry) for entry in value]
    return value[:] if isinstance(value, FileBytes) else value


@given(messages)
def test_what_is_written_in_parts_is_what_the_library_writes(message) -> None:
    assert joined(message_parts(message)) == write_msgpack(message)


@given(messages)
def test_what_is_read_from_a_file_is_what_is_read_in_memory(message) -> None:
    assert read(write_msgpack(message)) == read_msgpack(write_msgpack(message)) == message


@given(messages, st.data())
def test_damage_is_refused_in_a_file_where_it_is_in_memory(message, data) -> None:
    raw = bytearray(write_msgpack(message))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    raw = raw[: data.draw(st.sampled_from([len(raw), len(raw) - 1]))]
    try:
        expected = read_msgpack(bytes(raw))
    except Malformed:
        expected = None
    if isinstance(expected, dict):
        assert read(bytes(raw)) == expected
    else:
        with pytest.raises(Malformed):
            read(bytes(raw))


def test_bodies_stay_in_the_file() -> None:
    with tempfile.TemporaryFile() as file:
        file.write(write_msgpack({"a": b"12", "b": [None, b"3"], "c": {"d": "e"}}))
        found = read_message(FileBytes.of(file))
    assert isinstance(found["a"], FileBytes)
    assert isinstance(found["b"][1], FileBytes)
    assert found["c"] == {"d": "e"}


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"\x93\x01\x02\x03", "expected a map"),
        (b"\xde\x00\x41", "more than 64 members"),
        (b"\x81\xa1a\xdd\xff\xff\xff\xff", "more than 65536 entries"),
        (b"\x81\xa1a\xc6\xff\xff\xff\xff1", "within a body"),
        (b"\x82\xa1a\x01\xa1a\x02", "stands twice"),
        (b"\x81\x01\x01", "not valid msgpack"),
        (b"\x81\xa1a\x01\x01", "behind its end"),
        (b"\x81\xa1a", "too early"),
        (b"\x81\xa1a\xc7\x01\x05\x00", "extension"),
        (b"\x81\xa1a" + b"\x91" * 40 + b"\xc0", "nested deeper"),
    ],
)
def test_what_is_no_message_is_refused_with_the_reason(raw: bytes, reason: str) -> None:
    with pytest.raises(Malformed, match=reason):
        read(raw)


def test_a_member_that_is_no_body_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(msgpack_file, "MAX_MEMBER_BYTES", 1000)
    assert read(msgpack.packb({"a": "x" * 900})) == {"a": "x" * 900}
    with pytest.raises(Malformed, match="not valid msgpack"):
        read(msgpack.packb({"a": "x" * 2000}))
