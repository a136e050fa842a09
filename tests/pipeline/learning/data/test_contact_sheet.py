import struct
import zlib

import numpy as np
import pytest

from pipeline.errors import Misconfigured
from pipeline.learning.data.contact_sheet import contact_sheet, png
from pipeline.learning.data.datasets import Samples


def samples(x, y):
    return Samples(x=np.asarray(x, dtype=np.float32), y=np.array(y, dtype=np.int64), rows=np.arange(len(y)))


def pixels(data):
    """Our own PNGs back: uint8[height, width, 3]."""
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    chunks, position = {}, 8
    while position < len(data):
        size, kind = struct.unpack(">I4s", data[position : position + 8])
        body = data[position + 8 : position + 8 + size]
        assert struct.unpack(">I", data[position + 8 + size : position + 12 + size])[0] == zlib.crc32(kind + body)
        chunks[kind], position = body, position + 12 + size
    width, height = struct.unpack(">II", chunks[b"IHDR"][:8])
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), dtype=np.uint8).reshape(height, -1)
    assert not lines[:, 0].any()
    return lines[:, 1:].reshape(height, width, 3)


def test_a_png_holds_its_pixels():
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    assert np.array_equal(pixels(png(image)), image)


def test_other_readers_take_the_png(tmp_path):
    image = pytest.importorskip("PIL.Image", reason="the extra images is not installed")
    expected = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    (tmp_path / "sheet.png").write_bytes(png(expected))
    with image.open(tmp_path / "sheet.png") as opened:
        assert np.array_equal(np.asarray(opened), expected)


def test_a_row_for_every_class_and_no_more_than_asked_for():
    x = np.zeros((5, 1, 96, 96))
    x[:, 0] = np.array([0, 1, 0.5, 0.25, 1])[:, None, None]
    sheet = pixels(contact_sheet(samples(x, [0, 2, 0, 0, 2]), per_class=2))
    assert sheet.shape == (2 * 100 + 4, 2 * 100 + 4, 3)
    assert [sheet[50, 50, 0], sheet[50, 150, 0]] == [0, 128]
    assert [sheet[150, 50, 0], sheet[150, 150, 0]] == [255, 255]


def test_small_images_are_enlarged_and_colours_kept():
    x = np.zeros((1, 3, 24, 12))
    x[0, 1] = 1
    sheet = pixels(contact_sheet(samples(x, [0]), per_class=1))
    assert sheet.shape == (96 + 8, 48 + 8, 3)
    assert sheet[50, 20].tolist() == [0, 255, 0]


def test_volumes_show_their_middle_and_tables_are_no_images():
    x = np.zeros((1, 1, 3, 96, 96))
    x[0, 0, 1, :48] = 1
    sheet = pixels(contact_sheet(samples(x, [0]), per_class=1))
    assert (sheet[10, 10, 0], sheet[90, 10, 0]) == (255, 0)
    with pytest.raises(Misconfigured, match="no images"):
        contact_sheet(samples(np.zeros((2, 6)), [0, 1]))


def test_an_image_of_one_value_is_no_division_by_zero():
    assert pixels(contact_sheet(samples(np.ones((1, 1, 96, 96)), [0]))).any()
