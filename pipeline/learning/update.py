"""A sum becomes the next model (docs/protocol.md, section 7), bit for bit the same for aggregator, publisher and miners."""

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

    `old`: float32[d]. `sums`: X, int64[k]. `support`: ascending indices, int64[k]; None: all d. Raises ValueError where k
    does not fit.
    """
    at: NDArray[np.int64] | slice = slice(None) if support is None else support
    new = old.astype(np.float32)
    before = new[at].astype(np.float64)
    if sums.shape != before.shape:
        raise ValueError(f"{sums.size} sums for {before.size} coordinates")
    new[at] = (before - sums.astype(np.float64) / float(participants * scale)).astype(np.float32)
    return new
