"""The pieces of work that are measured, on any kernel of the contract."""

import secrets

import coincurve
import numpy as np
from numpy.typing import NDArray

from pipeline.curve.contract import Kernel, Points, Scalars
from pipeline.nddfe.keystream import masks, weights
from pipeline.nddfe.mask_sum import chunks

KEYS = (secrets.token_bytes(32), secrets.token_bytes(32))
BASE = coincurve.PrivateKey(secrets.token_bytes(32)).public_key.format()
MINERS = 5
#: The sum of five miners stays within 2^22.
LARGEST = 2**22 // MINERS


def values(n: int, seed: int = 0) -> NDArray[np.int64]:
    """What miners encrypt."""
    return np.random.default_rng(seed).integers(-LARGEST, LARGEST + 1, n)


def mask_sum(kernel: Kernel, n: int, first: int = 0) -> Scalars:
    """r + s of one miner: two AES-CTR streams, added mod q."""
    return kernel.add_scalars([masks(kernel, key, first, n) for key in KEYS])


def encrypt(kernel: Kernel, numbers: NDArray[np.int64]) -> bytes:
    """Masks from the keystreams, one point a value, points32; in chunks, as the miner's stage does it."""
    xs, bits = [], []
    for first, count in chunks(len(numbers)):
        points = kernel.encrypt(BASE, mask_sum(kernel, count, first), numbers[first : first + count])
        data = kernel.write_points32(points)
        xs.append(data[: 32 * count])
        bits.append(data[32 * count :])
    return b"".join(xs + bits)


def verify(kernel: Kernel, ciphertext: bytes, n: int) -> Points:
    """What the aggregator does for one submission: read the points, V = sum rho U, the sum of its mask stream."""
    rho = weights(KEYS[0], 0, n)
    kernel.dot(rho, masks(kernel, KEYS[1], 0, n))
    return kernel.weighted_sum(kernel.read_points32(ciphertext, n), rho)


def unmask(kernel: Kernel, ciphertexts: list[bytes], n: int, summed: Scalars) -> Points:
    """Reads n miners' points and leaves the sums times H."""
    return kernel.unmask([kernel.read_points32(ciphertext, n) for ciphertext in ciphertexts], BASE, summed)


def aggregate(kernel: Kernel, ciphertexts: list[bytes], n: int, summed: Scalars) -> NDArray[np.int64]:
    """From n miners' bytes to the sums."""
    sums, found = kernel.logarithms(unmask(kernel, ciphertexts, n, summed), 2**22)
    if not found.all():
        raise AssertionError("a sum within the bound was not found")
    return sums
