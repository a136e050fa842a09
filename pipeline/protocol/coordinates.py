"""Which of a model's d values a round is made of: its support, whose bitmap may lie on disk (docs/protocol.md, sections 1 and 2)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.protocol.encodings import count_bits
from pipeline.protocol.file_bytes import Bytes


@dataclass(frozen=True)
class Coordinates:
    """The k coordinates of a round, ascending; all d where there is no bitmap."""

    #: d.
    dimension: int
    bitmap: Bytes | None
    #: k.
    size: int

    @classmethod
    def of(cls, dimension: int, bitmap: Bytes | None) -> "Coordinates":
        """Raises Malformed: a bitmap of another length, spare bits that are set."""
        size = dimension if bitmap is None else count_bits(bitmap, dimension, "support")
        return cls(dimension, bitmap, size)

    def within(self, start: int, stop: int) -> NDArray[np.int64]:
        """Those of start .. stop - 1, counted from `start`."""
        if self.bitmap is None:
            return np.arange(stop - start)
        covering = np.frombuffer(self.bitmap[start // 8 : (stop + 7) // 8], dtype=np.uint8)
        bits = np.unpackbits(covering, bitorder="little")[start % 8 :][: stop - start]
        return np.flatnonzero(bits)
