"""Arrays that start on a cache line: unaligned 64-byte entries would cost two lines each."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.curve.contract import Points

LINE = 64


def aligned(size: int) -> NDArray[np.uint8]:
    """`size` uninitialised bytes on a 64-byte boundary. numpy asks for huge pages where the array is large."""
    raw: NDArray[Any] = np.empty(size + LINE, np.uint8)
    start = -raw.ctypes.data % LINE
    return raw[start : start + size]


def empty_points(count: int) -> Points:
    """Uninitialised points, one cache line each."""
    return aligned(count * LINE).view(np.uint64).reshape(count, 8)
