"""JSON with long base64 in a file is the JSON that it is in memory."""

import base64
import json
import os
from pathlib import Path

import pytest

from bench.compress import peak
from pipeline.errors import Malformed
from pipeline.protocol import json_file
from pipeline.protocol.file_bytes import PIECE, pieces
from pipeline.protocol.json_file import LONG, Base64Bytes, read_json_file
from tests.pipeline.protocol.files import in_file


def body(size: int, **more: object) -> tuple[bytes, bytes]:
    """A body of so many bytes and the JSON around it."""
    raw = os.urandom(size)
    return raw, json.dumps({"header": {"a": [1, "b"]}, "ciphertext": base64.b64encode(raw).decode(), **more}).encode()


@pytest.mark.parametrize("size", [LONG, LONG + 1, LONG + 2, 3 * PIECE + 5])
def test_a_long_text_stays_in_the_file_and_is_decoded_as_it_is_asked_for(tmp_path: Path, size: int) -> None:
    raw, text = body(size, wish="QUJD", long=base64.b64encode(bytes(LONG)).decode())
    found = read_json_file(in_file(text, tmp_path))
    assert found["header"] == {"a": [1, "b"]}
    assert found["wish"] == "QUJD"
    one = found["ciphertext"]
    assert isinstance(one, Base64Bytes)
    assert len(one) == size
    assert one[:] == raw
    assert one[7:100] == raw[7:100]
    assert b"".join(pieces(one.part(5, size - 1))) == raw[5 : size - 1]
    assert found["long"][:] == bytes(LONG)


def test_what_is_short_is_read_as_ever(tmp_path: Path) -> None:
    for text in (b'{"a": "QUJD"}', b'[1, {"b": null}]', b'"QUJD"'):
        assert read_json_file(in_file(text, tmp_path)) == read_json_file(text) == json.loads(text)


@pytest.mark.parametrize(
    "text",
    [
        b'{"a": "%s"}' % (b"A" * (LONG + 1)),
        b'{"a": "%s"}' % (b"A" * (LONG - 5) + b"=" + b"A" * 8),
        b'{"a": "%s"}' % (b"A" * LONG + b"==" + b"A" * (4 * PIECE - 2)),
        b'{"a": "%s"}' % (b"A" * LONG + b"===="),
    ],
    ids=["length", "padding within", "padding within a piece", "too much padding"],
)
def test_what_is_no_base64_is_refused(tmp_path: Path, text: bytes) -> None:
    with pytest.raises(Malformed, match="not valid base64"):
        read_json_file(in_file(text, tmp_path))


@pytest.mark.parametrize(
    "text",
    [
        b'{"a": {"b": "%s"}}' % (b"A" * LONG),
        b'{"a": ["%s"]}' % (b"A" * LONG),
        b'{"a": "\\"%s"}' % (b"A" * LONG),
        b'{"%s": 1}' % (b"A" * LONG),
    ],
    ids=["in a member", "in a list", "behind an escaped quote", "a name"],
)
def test_a_long_text_elsewhere_is_refused(tmp_path: Path, text: bytes) -> None:
    with pytest.raises(Malformed, match="where none belongs"):
        read_json_file(in_file(text, tmp_path))


def test_no_more_than_a_bound_stands_beside_the_long_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_file, "_MAX_BESIDE", 1000)
    _, text = body(LONG)
    read_json_file(in_file(text, tmp_path))
    for more in (" " * 1000, "x" * 1000, "é" * 1000):
        with pytest.raises(Malformed, match="beside its long texts"):
            read_json_file(in_file(text[:-1] + json.dumps(more)[1:-1].encode() + b"}", tmp_path))


def test_a_longer_body_takes_no_more_memory(tmp_path: Path) -> None:
    peaks = []
    for size in (4 * PIECE, 16 * PIECE):
        one = in_file(body(size)[1], tmp_path)
        peaks.append(peak(lambda one=one: [len(piece) for piece in pieces(read_json_file(one)["ciphertext"])]))
    assert peaks[1] < 1.1 * peaks[0]
