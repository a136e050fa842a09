"""Encryption and decryption (PROTOCOL.md sections 4 and 7), in chunks so that memory stays bounded.

U_g = (r_g + s_g)*pk_TP + m_g*H for the G groups, and a blinding point U_G whose m_G is a fresh scalar.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.curve.contract import Kernel, Points, Q, Scalars
from pipeline.curve.generators import H33
from pipeline.curve.points import add33, multiply33
from pipeline.curve.words import concatenated, ints_to_words, words_to_ints
from pipeline.nddfe.masks import MaskKeys, masks
from pipeline.nddfe.proof import weights
from pipeline.protocol.encodings import checked_point33
from pipeline.protocol.signing import SecretKey

#: Groups at a time: 64 bytes a point and 3 x 32 a mask, about 10 MB.
CHUNK = 65536


@dataclass(frozen=True, kw_only=True)
class Randomness:
    """What must be fresh for every submission. Vectors replay it; production takes `fresh()`."""

    #: e, of which E = e*g is sent; forgotten once the submission is stored.
    ephemeral: SecretKey
    #: m_G, uniform in 0 .. q-1.
    blinding: int
    #: The proof's commitment, uniform in 1 .. q-1.
    beta: int

    @classmethod
    def fresh(cls) -> "Randomness":
        """From the system's randomness."""
        return cls(ephemeral=SecretKey.generate(), blinding=secrets.randbelow(Q), beta=1 + secrets.randbelow(Q - 1))

    def __repr__(self) -> str:
        return "Randomness(...)"


def encrypt(values: NDArray[np.int64], keys: MaskKeys, publisher_key: bytes, blinding: int, kernel: Kernel) -> Points:
    """Encrypts packed integers int64[G], |m_g| <= 2^40, and the blinding value: Points[G + 1]."""
    groups = len(values)
    chunks = [
        kernel.encrypt(
            publisher_key, joint_masks(keys, start, min(CHUNK, groups - start), kernel), values[start : start + CHUNK]
        )
        for start in range(0, groups, CHUNK)
    ]
    return concatenated([*chunks, _blinding_point(keys, groups, publisher_key, blinding, kernel)], 8)


def joint_masks(keys: MaskKeys, start: int, count: int, kernel: Kernel) -> Scalars:
    """r_g + s_g mod q."""
    own = masks(keys.publisher, start, count, kernel), masks(keys.aggregator, start, count, kernel)
    return kernel.add_scalars(own)


def mask_sum(key: bytes, statement_hash: bytes, points: int, kernel: Kernel) -> int:
    """sum of rho_g times the masks under one key, over all G + 1 points: R_i or S_i of PROTOCOL.md section 6."""
    total = 0
    for start in range(0, points, CHUNK):
        count = min(CHUNK, points - start)
        total += kernel.dot(weights(statement_hash, start, count), masks(key, start, count, kernel))
    return total % Q


def value_sum(values: NDArray[np.int64], blinding: int, statement_hash: bytes, kernel: Kernel) -> int:
    """b = sum of rho_g m_g over all G + 1 points."""
    groups = len(values)
    total = sum(
        kernel.dot_values(weights(statement_hash, start, min(CHUNK, groups - start)), values[start : start + CHUNK])
        for start in range(0, groups, CHUNK)
    )
    (last,) = words_to_ints(weights(statement_hash, groups, 1))
    return (total + last * blinding) % Q


def mask_totals(keys: Sequence[bytes], groups: int, kernel: Kernel) -> Scalars:
    """The sums over keys of their masks, g = 0 .. G-1: the function key k_g, or the aggregator's own half of M_g."""
    chunks = []
    for start in range(0, groups, CHUNK):
        count = min(CHUNK, groups - start)
        total = masks(keys[0], start, count, kernel)
        for key in keys[1:]:
            total = kernel.add_scalars([total, masks(key, start, count, kernel)])
        chunks.append(total)
    return concatenated(chunks, 4)


def decrypt(
    submissions: Sequence[Points], totals: Scalars, publisher_key: bytes, bound: int, kernel: Kernel
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """m_g of the sum, for every group: removes M_g = `totals` and takes the logarithm. Returns (int64[G], found)."""
    values, found = [], []
    for start in range(0, len(totals), CHUNK):
        part = slice(start, start + CHUNK)
        rest = kernel.unmask([points[part] for points in submissions], publisher_key, totals[part])
        solved, known = kernel.logarithms(rest, bound)
        values.append(solved)
        found.append(known)
    return np.concatenate(values), np.concatenate(found)


def _blinding_point(keys: MaskKeys, index: int, publisher_key: bytes, blinding: int, kernel: Kernel) -> Points:
    (mask,) = words_to_ints(joint_masks(keys, index, 1, kernel))
    point = add33(multiply33(publisher_key, mask), multiply33(H33, blinding))
    raw = checked_point33(point or b"").format(compressed=False)
    x, y = int.from_bytes(raw[1:33], "big"), int.from_bytes(raw[33:], "big")
    return np.hstack([ints_to_words([x], 4), ints_to_words([y], 4)])
