"""Several coordinates to a curve point, as balanced digits in base B (docs/protocol.md, sections 4 and 7)."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.int64]


class Groups(Protocol):
    """m_0 .. m_(G-1): an array of them, or `Packed`."""

    def __len__(self) -> int:
        """G."""

    def __getitem__(self, at: slice, /) -> Any:
        """Some of them in a row, int64."""


@dataclass(frozen=True)
class Packed:
    """`pack` of values that may lie on disk, made as it is asked for."""

    values: NDArray[np.signedinteger[Any]]
    base: int
    size: int

    def __len__(self) -> int:
        return -(-len(self.values) // self.size)

    def __getitem__(self, at: slice) -> Values:
        start, stop, _ = at.indices(len(self))
        return pack(self.values[start * self.size : stop * self.size], self.base, self.size)


def pack(values: NDArray[np.signedinteger], base: int, size: int) -> Values:
    """m_g = sum over i of values[g*size + i] * base^i, int64[ceil(k / size)]; the last group filled up with zeros.

    With |value| <= c and base^size <= 2^40 nothing overflows.
    """
    groups = -(-len(values) // size)
    digits = np.zeros((groups, size), dtype=np.int64)
    digits.reshape(-1)[: len(values)] = values
    packed = np.zeros(groups, dtype=np.int64)
    for i in reversed(range(size)):
        packed = packed * base + digits[:, i]
    return packed


def unpack(
    packed: Values, found: NDArray[np.bool_], *, base: int, size: int, count: int, limit: int
) -> tuple[Values, list[int]]:
    """The `count` digits of the groups, and the numbers of the groups that are dropped whole (zeros there).

    Dropped: `found` is false (the sum is out of range), a digit beyond `limit` = n*c, a filling digit that is not zero,
    something left over above the last digit.
    """
    rest = packed.copy()
    digits = np.empty((len(packed), size), dtype=np.int64)
    half = base // 2
    for i in range(size):
        digits[:, i] = (rest + half) % base - half
        rest = (rest - digits[:, i]) // base
    filling = digits.reshape(-1)[count:]
    good = found & (rest == 0) & (np.abs(digits) <= limit).all(axis=1)
    if filling.any():
        good[-1] = False
    digits[~good] = 0
    return digits.reshape(-1)[:count].copy(), np.flatnonzero(~good).tolist()
