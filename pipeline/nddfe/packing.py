"""Several small integers in one (PROTOCOL.md sections 4 and 7): balanced digits to the base B.

Legend: k coordinates, `pack` of them a group, G = ceil(k / pack) groups, m_g the packed integer of group g.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


def packed(values: NDArray[np.int32], pack: int, base: int) -> NDArray[np.int64]:
    """m_g = sum of x_(g*pack+i) * B^i, the last group filled up with zeros: int32[k] to int64[G]."""
    groups = -(-len(values) // pack)
    digits = np.zeros(groups * pack, dtype=np.int64)
    digits[: len(values)] = values
    powers = np.array([base**i for i in range(pack)], dtype=np.int64)
    return digits.reshape(groups, pack) @ powers


@dataclass(frozen=True, kw_only=True)
class Unpacked:
    """What a round's groups say."""

    #: X for the k coordinates, int64; 0 in dropped groups.
    sums: NDArray[np.int64]
    #: Ascending numbers of the groups that were dropped whole.
    dropped: NDArray[np.int64]


def unpacked(
    packed_sums: NDArray[np.int64], found: NDArray[np.bool_], count: int, pack: int, base: int, limit: int
) -> Unpacked:
    """Reads the sums of `count` coordinates from int64[G].

    A group that was not `found`, that has a digit beyond `limit` (n * c) or a filling digit that is not zero, is dropped.
    """
    digits = np.empty((len(packed_sums), pack), dtype=np.int64)
    rest = packed_sums.copy()
    half = base // 2
    for i in range(pack):
        digits[:, i] = (rest + half) % base - half
        rest = (rest - digits[:, i]) // base
    filling = digits.reshape(-1)[count:]
    bad = ~found | (rest != 0) | (np.abs(digits) > limit).any(axis=1)
    if filling.any():
        bad[-1] = True
    digits[bad] = 0
    return Unpacked(sums=digits.reshape(-1)[:count].copy(), dropped=np.flatnonzero(bad))
