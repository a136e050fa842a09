"""TenSEAL's CKKS (8192; 60, 40, 60), what federated learning usually takes. Only where it is installed."""

from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.measure import least

SLOTS = 4096


def installed() -> bool:
    return find_spec("tenseal") is not None


def encrypt(numbers: NDArray[np.int64]) -> tuple[float, float]:
    """(ns, bytes) per number: encrypt and serialise the vector."""
    import tenseal

    context: Any = tenseal.context(tenseal.SCHEME_TYPE.CKKS, 8192, coeff_mod_bit_sizes=[60, 40, 60])
    context.global_scale = 2**40
    parts = [numbers[start : start + SLOTS].astype(float).tolist() for start in range(0, len(numbers), SLOTS)]
    sizes: list[int] = []

    def work() -> None:
        sizes[:] = [len(tenseal.ckks_vector(context, part).serialize()) for part in parts]

    return least(work, 2) / len(numbers) * 1e9, sum(sizes) / len(numbers)
