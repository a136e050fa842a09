"""The score and its commitment (PROTOCOL.md sections 3 and 8)."""

import math

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Rejected
from pipeline.protocol.encodings import from_hex, keccak256

_MILLIONTHS_SQUARED = 10**12
NONCE_BYTES = 32


def score_of(values: NDArray[np.int32], scale: int) -> int:
    """scoreUint = isqrt(floor(sum x_j^2 * 10^12 / scale^2)): the update's L2 norm in millionths."""
    squares = values.astype(np.int64) ** 2 if len(values) and int(np.abs(values).max()) < 2**20 else None
    total = int(squares.sum()) if squares is not None else sum(int(value) ** 2 for value in values)
    return _norm(total, scale)


def largest_score(coordinates: int, level: int, scale: int) -> int:
    """The score that k coordinates of magnitude c would have: more is refused at the reveal."""
    return _norm(coordinates * level**2, scale)


def commitment(score: int, nonce: bytes, task_id: str, miner: str) -> bytes:
    """keccak256(uint256(scoreUint) || nonce || taskID || address20). `miner` is an address text."""
    return keccak256(score.to_bytes(32, "big") + nonce + task_id.encode() + from_hex(miner, 20, "miner"))


def check_opening(score: int, nonce: bytes, task_id: str, miner: str, committed: bytes) -> None:
    """Raises Rejected unless score and nonce open the commitment."""
    if len(nonce) != NONCE_BYTES or not 0 <= score < 2**256 or commitment(score, nonce, task_id, miner) != committed:
        raise Rejected("score and nonce do not open the commitment")


def _norm(sum_of_squares: int, scale: int) -> int:
    return math.isqrt(sum_of_squares * _MILLIONTHS_SQUARED // scale**2)
