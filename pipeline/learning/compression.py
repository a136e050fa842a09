"""From delta to small integers, and what stays behind (PROTOCOL.md section 3; Deep Gradient Compression, Lin et al. 2018).

Legend: d values of the model, k coordinates of the support, v = delta + residual, x the integers that are sent.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Rejected
from pipeline.protocol.encodings import bitmap_from_indices, ceil_ratio


@dataclass(frozen=True, kw_only=True)
class Compressed:
    """What one run sends, and what it keeps."""

    #: x, int32[k].
    values: NDArray[np.int32]
    #: The next residual, float32[d].
    residual: NDArray[np.float32]


def compress(
    delta: NDArray[np.float32],
    residual: NDArray[np.float32] | None,
    support: NDArray[np.int64] | None,
    *,
    scale: int,
    clip: float,
) -> Compressed:
    """x_j = round(clip(v_j) * scale) on the support; next residual = v - x/scale there, v elsewhere.

    Half goes to even, in IEEE double. Raises Rejected for a clip and scale whose values are beyond int32.
    """
    if clip * scale + 0.5 >= 2**31:
        raise Rejected(f"quantization: clip {clip} times scale {scale} gives values beyond 32 bits; use a smaller one")
    v = np.array(delta, dtype=np.float32) if residual is None else delta + residual
    chosen = (v if support is None else v[support]).astype(np.float64)
    x = np.rint(np.clip(chosen, -clip, clip) * scale)
    rest = (chosen - x / scale).astype(np.float32)
    if support is None:
        v = rest
    else:
        v[support] = rest
    return Compressed(values=x.astype(np.int32), residual=v)


def wish(residual: NDArray[np.float32], delta: NDArray[np.float32], ratio: float) -> bytes:
    """Bitmap of at most ceil(ratio * d) coordinates, those largest in |next residual + delta|.

    They are what this miner expects to have to send next. Ties go to the smaller index; zeros are not wished for.
    """
    expected = np.abs(residual + delta)
    most = ceil_ratio(ratio, len(delta))
    if most >= len(expected):
        chosen = np.flatnonzero(expected)
    else:
        threshold = np.partition(expected, len(expected) - most)[len(expected) - most]
        above = np.flatnonzero(expected > threshold)
        level = np.flatnonzero((expected == threshold) & (expected > 0))[: most - len(above)]
        chosen = np.concatenate([above, level])
    return bitmap_from_indices(chosen, len(delta))


def returned(
    residual: NDArray[np.float32],
    values: NDArray[np.int32],
    support: NDArray[np.int64] | None,
    *,
    scale: int,
    pack: int,
    dropped: list[int] | None,
) -> NDArray[np.float32]:
    """The residual with what its round did not accept: x/scale of the `dropped` groups, or of all (None: not in the block)."""
    back = np.ones(len(values), dtype=np.bool_)
    if dropped is not None:
        back = np.isin(np.arange(len(values)) // pack, np.array(dropped, dtype=np.int64))
    amount = np.where(back, values / scale, 0.0)
    whole = residual.astype(np.float64)
    if support is None:
        whole += amount
    else:
        whole[support] += amount
    return whole.astype(np.float32)
