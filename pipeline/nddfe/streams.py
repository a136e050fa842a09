"""Keystreams (PROTOCOL.md sections 1 and 4): AES-256-CTR from a zero counter, read as big-endian words from any offset."""

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

_BLOCK = 16


def keystream(key: bytes, start: int, length: int) -> bytes:
    """`length` bytes of the stream under `key` (32 bytes), from byte `start` on."""
    first_block, skip = divmod(start, _BLOCK)
    encryptor = Cipher(algorithms.AES(key), modes.CTR(first_block.to_bytes(_BLOCK, "big"))).encryptor()
    return encryptor.update(bytes(skip + length))[skip:]


def words(key: bytes, width: int, start: int, count: int) -> bytes:
    """Words start .. start + count - 1 of `width` bytes each, as they stand in the stream."""
    return keystream(key, start * width, count * width)
