"""A ciphertext that is read by parts: `points32` of U_0 .. U_G in memory or on disk (docs/protocol.md, sections 1 and 4)."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.curve.contract import Kernel, Points
from pipeline.errors import Malformed
from pipeline.nddfe.mask_sum import chunks
from pipeline.protocol.file_bytes import Bytes
from pipeline.protocol.submission import points32_size


@dataclass(frozen=True)
class Ciphertext:
    """`count` = G + 1 points. Nothing is decompressed before it is read; raises Malformed for a length or spare bits at once."""

    data: Bytes
    count: int

    def __post_init__(self) -> None:
        expected = points32_size(self.count)
        if len(self.data) != expected:
            raise Malformed(f"points: expected {expected} bytes for {self.count} points, got {len(self.data)}")
        if self.count % 8 and self.data[expected - 1 :][0] >> self.count % 8:
            raise Malformed("points: spare bits are set")

    def __len__(self) -> int:
        return self.count

    def read(self, kernel: Kernel, first: int, count: int) -> Points:
        """Points first .. first + count - 1, uint64[count, 8]. Raises Malformed: x >= p, x on no point."""
        try:
            return kernel.read_points32(self._part(first, count), count)
        except Malformed as error:
            if first == 0:
                raise
            raise Malformed(*(f"from point {first} on: {reason}" for reason in error.reasons)) from None

    def pieces(self, kernel: Kernel) -> Iterator[Points]:
        """All points in order, a chunk at a time. Raises Malformed."""
        return (self.read(kernel, first, count) for first, count in chunks(self.count))

    def _part(self, first: int, count: int) -> bytes:
        """`points32` of a part: its x coordinates, and its sign bits moved to the low end."""
        signs = 32 * self.count
        covering = self.data[signs + first // 8 : signs + (first + count + 7) // 8]
        bits = np.unpackbits(np.frombuffer(covering, dtype=np.uint8), bitorder="little")
        odd = bits[first % 8 : first % 8 + count]
        return bytes(self.data[32 * first : 32 * (first + count)]) + np.packbits(odd, bitorder="little").tobytes()
