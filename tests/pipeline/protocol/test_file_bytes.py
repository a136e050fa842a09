import os
from pathlib import Path

import pytest

from pipeline.errors import Retryable
from pipeline.protocol.encodings import keccak256, keccak256_of
from pipeline.protocol.file_bytes import PIECE, array_of, pieces
from tests.pipeline.protocol.files import in_file

DATA = bytes(range(256)) * 3


@pytest.mark.parametrize(
    "at", [slice(0, 5), slice(700, None), slice(-3, None), slice(5, 2), slice(900, 1000), slice(None)]
)
def test_a_slice_is_that_of_the_bytes(tmp_path: Path, at: slice) -> None:
    assert in_file(DATA, tmp_path)[at] == DATA[at]
    assert in_file(DATA, tmp_path).part(100, 700)[at] == DATA[100:700][at]


def test_a_part_beyond_the_end_is_no_part(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="bytes 0 to 769 of 768"):
        in_file(DATA, tmp_path).part(0, 769)
    with pytest.raises(ValueError, match="no step"):
        in_file(DATA, tmp_path)[::2]


def test_an_unlinked_file_is_read_and_closed_with_its_last_part(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    whole = in_file(DATA, tmp_path)
    part = whole.part(1, 3)
    next(tmp_path.iterdir()).unlink()
    del whole
    assert part[:] == b"\x01\x02"
    del part
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_file_that_became_shorter_is_asked_for_again_later(tmp_path: Path) -> None:
    whole = in_file(DATA, tmp_path)
    os.truncate(next(tmp_path.iterdir()), 10)
    with pytest.raises(Retryable, match="shorter"):
        whole[5:20]


def test_pieces_hashes_and_arrays_are_those_of_the_whole(tmp_path: Path) -> None:
    data = os.urandom(2 * PIECE + 8)
    one = in_file(data, tmp_path)
    assert [len(piece) for piece in pieces(one, b"", b"ab")] == [PIECE, PIECE, 8, 2]
    assert keccak256_of(one) == keccak256(data)
    assert array_of(one, "<i8", 1, 2).tobytes() == data[8:24]
    assert len(array_of(one, "<i8", len(data) // 8 - 1, 5)) == 1
