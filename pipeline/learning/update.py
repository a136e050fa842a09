"""The new model's values (PROTOCOL.md section 7), bit for bit the same for everyone who computes them."""

import numpy as np
from numpy.typing import NDArray


def apply_update(
    old: NDArray[np.float32],
    sums: NDArray[np.int64],
    support: NDArray[np.int64] | None,
    participants: int,
    scale: int,
) -> NDArray[np.float32]:
    """w_new = f32(f64(w_old) - f64(X) / (n * scale)) on the support, w_old elsewhere.

    old: float32[d]; sums: int64[k]; support: ascending int64[k], or None for all d coordinates.
    """
    step = sums.astype(np.float64) / (participants * scale)
    if support is None:
        return (old.astype(np.float64) - step).astype(np.float32)
    new = old.copy()
    new[support] = (old[support].astype(np.float64) - step).astype(np.float32)
    return new
