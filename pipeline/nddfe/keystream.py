"""The keystream of docs/protocol.md, section 1, from any word on: AES-256-CTR from a zero counter block."""

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from numpy.typing import NDArray

from pipeline.curve.arrays import words_from_bytes
from pipeline.curve.contract import Kernel, Scalars, Weights

_BLOCK = 16


def keystream(key: bytes, start: int, size: int) -> bytes:
    """Bytes `start` .. `start + size - 1` of the keystream under a 32-byte key."""
    block, skip = divmod(start, _BLOCK)
    counter = block.to_bytes(_BLOCK, "big")
    return Cipher(AES(key), CTR(counter)).encryptor().update(bytes(skip + size))[skip:]


def masks(kernel: Kernel, key: bytes, first: int, count: int) -> Scalars:
    """Words first .. first + count - 1 of width 32, mod q."""
    return kernel.reduce(keystream(key, 32 * first, 32 * count))


def weights(key: bytes, first: int, count: int) -> Weights:
    """Words first .. first + count - 1 of width 16."""
    return words_from_bytes(keystream(key, 16 * first, 16 * count), 2)


def words4(key: bytes, first: int, count: int) -> NDArray[np.uint32]:
    """Words first .. first + count - 1 of width 4."""
    return np.frombuffer(keystream(key, 4 * first, 4 * count), dtype=">u4").astype(np.uint32)
