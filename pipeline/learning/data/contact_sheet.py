"""A few images of every class on one sheet, as PNG: whether labels, contrast and orientation are right shows at a glance."""

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Misconfigured
from pipeline.learning.data.datasets import Samples

#: Pixels between two images, and the shortest side that an image gets (small ones are enlarged whole).
_GAP, _LEAST_SIDE = 4, 96


def contact_sheet(samples: Samples, per_class: int = 8) -> bytes:
    """A PNG: a row for each class that has samples, ascending, the first `per_class` of them. Raises Misconfigured for data that are no images.

    The darkest and the brightest value on the sheet become black and white. Of a volume the middle slice is shown.
    """
    if samples.x.ndim not in (4, 5):
        raise Misconfigured(
            f"samples of the shape {samples.x.shape[1:]} are no images; `flfleet data check` counts them"
        )
    rows = [
        np.flatnonzero(samples.y[samples.rows] == label)[:per_class] for label in np.unique(samples.y[samples.rows])
    ]
    tiles = [[_pixels(samples.take(np.array([position]))[0][0]) for position in row] for row in rows]
    low = min(float(tile.min()) for row in tiles for tile in row)
    high = max(float(tile.max()) for row in tiles for tile in row)
    height, width = tiles[0][0].shape[:2]
    sheet = np.full((len(tiles) * (height + _GAP) + _GAP, per_class * (width + _GAP) + _GAP, 3), 255, dtype=np.uint8)
    for line, row in enumerate(tiles):
        for column, tile in enumerate(row):
            top, left = _GAP + line * (height + _GAP), _GAP + column * (width + _GAP)
            sheet[top : top + height, left : left + width] = np.rint((tile - low) / ((high - low) or 1) * 255)
    return png(sheet)


def png(image: NDArray[np.uint8]) -> bytes:
    """uint8[height, width, 3] as a PNG (ISO/IEC 15948): 8 bits a channel, no filter."""
    height, width, _ = image.shape
    lines = np.concatenate([np.zeros((height, 1), dtype=np.uint8), image.reshape(height, -1)], axis=1)
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(lines.tobytes(), 6)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def _pixels(sample: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32[height, width, 3] of one sample, enlarged where it is small."""
    image = sample[:, sample.shape[1] // 2] if sample.ndim == 4 else sample
    colour = image[:3] if len(image) >= 3 else image[:1].repeat(3, axis=0)
    times = max(1, -(-_LEAST_SIDE // max(image.shape[1:])))
    return np.moveaxis(colour, 0, 2).repeat(times, axis=0).repeat(times, axis=1)
