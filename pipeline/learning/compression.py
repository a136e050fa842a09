"""From delta to small integers, and what stays behind (docs/protocol.md, section 3; Deep Gradient Compression, Lin et al. 2018).

Legend: d values of the model, k coordinates of the support (ascending), v = delta + residual, x the integers that are sent.
Everything goes over d in chunks: besides its results, which may be memory maps, it holds some tens of MiB whatever d is.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Rejected
from pipeline.learning.selection import spans, threshold
from pipeline.protocol.encodings import ceil_ratio


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
    into: Compressed | None = None,
) -> Compressed:
    """x_j = round(clip(v_j) * scale) on the support; next residual = v - x/scale there, v elsewhere.

    Half goes to even, in IEEE double. `into`: arrays that the results are written to. Raises Rejected for a clip and scale
    whose values are beyond int32.
    """
    if clip * scale + 0.5 >= 2**31:
        raise Rejected(f"quantization: clip {clip} times scale {scale} gives values beyond 32 bits; use a smaller one")
    count = len(delta)
    made = into or Compressed(
        values=np.empty(count if support is None else len(support), np.int32), residual=np.empty(count, np.float32)
    )
    for (start, stop), (first, last), local in _cuts(count, support):
        v = np.array(delta[start:stop], dtype=np.float32)
        if residual is not None:
            v += residual[start:stop]
        chosen = v[local].astype(np.float64)
        x = np.rint(np.clip(chosen, -clip, clip) * scale)
        made.values[first:last] = x
        v[local] = chosen - x / scale
        made.residual[start:stop] = v
    return made


def wish(residual: NDArray[np.float32], delta: NDArray[np.float32], ratio: float) -> bytes:
    """Bitmap of at most ceil(ratio * d) coordinates, those largest in |next residual + delta|.

    They are what this miner expects to have to send next. Ties go to the smaller index; zeros are not wished for.
    """
    count = len(delta)

    def size(start: int, stop: int) -> NDArray[np.uint32]:
        # Magnitudes of floats are in the order of their bits.
        bits: NDArray[np.uint32] = np.abs(residual[start:stop] + delta[start:stop]).view(np.uint32)
        return bits

    most = min(ceil_ratio(ratio, count), count)
    if most == 0:
        return b""
    t, ties = threshold(lambda: (size(start, stop) for start, stop in spans(count)), most)
    if t == 0:
        ties = 0
    bitmap = []
    for start, stop in spans(count):
        bits = size(start, stop)
        chosen = bits > t
        level = np.flatnonzero(bits == t)[:ties] if ties else np.zeros(0, dtype=np.int64)
        chosen[level] = True
        ties -= len(level)
        bitmap.append(np.packbits(chosen, bitorder="little").tobytes())
    return b"".join(bitmap)


def returned(
    residual: NDArray[np.float32],
    values: NDArray[np.int32],
    support: NDArray[np.int64] | None,
    *,
    scale: int,
    pack: int,
    dropped: list[int] | None,
    into: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """The residual with what its round did not accept: x/scale of the `dropped` groups, or of all (None: not in the block).

    `into`: the array that the result is written to.
    """
    made = np.empty(len(residual), np.float32) if into is None else into
    lost = None if dropped is None else np.array(dropped, dtype=np.int64)
    for (start, stop), (first, last), local in _cuts(len(residual), support):
        amount = values[first:last] / scale
        if lost is not None:
            amount[~np.isin(np.arange(first, last) // pack, lost)] = 0.0
        whole = residual[start:stop].astype(np.float64)
        whole[local] += amount
        made[start:stop] = whole
    return made


def _cuts(
    count: int, support: NDArray[np.int64] | None
) -> Iterator[tuple[tuple[int, int], tuple[int, int], NDArray[np.int64] | slice]]:
    """Pieces of d: (start, stop), the places (first, last) of their coordinates in the support, and those within the piece."""
    first = 0
    for start, stop in spans(count):
        if support is None:
            yield (start, stop), (start, stop), slice(None)
            continue
        last = int(np.searchsorted(support, stop))
        yield (start, stop), (first, last), support[first:last] - start
        first = last
