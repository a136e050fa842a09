"""The score that a miner commits to and may reveal (docs/protocol.md, sections 3 and 8)."""

from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.protocol.encodings import from_hex, keccak256

#: Scores are in millionths.
_UNIT = 10**6
_CHUNK = 2**20
NONCE_BYTES = 32


def score_uint(values: NDArray[np.signedinteger[Any]], scale: int) -> int:
    """The update's L2 norm in millionths: isqrt(floor(sum x_j^2 * 10^12 / scale^2)), exact for |x_j| <= 2^40."""
    return isqrt(_sum_of_squares(values) * _UNIT**2 // scale**2)


def score_bound(support_size: int, level: int, scale: int) -> int:
    """The largest score that k coordinates of at most c can have; a reveal beyond it is refused."""
    return isqrt(support_size * level**2 * _UNIT**2 // scale**2)


def commitment(score: int, nonce: bytes, task_id: str, address: str) -> bytes:
    """scoreCommit = keccak256(uint256(score) || nonce || taskID || address20)."""
    if len(nonce) != NONCE_BYTES:
        raise ValueError(f"a nonce is {NONCE_BYTES} bytes, got {len(nonce)}")
    return keccak256(score.to_bytes(32, "big") + nonce + task_id.encode() + from_hex(address, 20, "miner"))


def _sum_of_squares(values: NDArray[np.signedinteger[Any]]) -> int:
    """Exact: halves of 20 bits, so that no sum of 2^20 products passes 2^60."""
    total = 0
    for first in range(0, len(values), _CHUNK):
        part = values[first : first + _CHUNK].astype(np.int64)
        high, low = part >> 20, part & 0xFFFFF
        total += (int(high @ high) << 40) + (int(high @ low) << 21) + int(low @ low)
    return total
