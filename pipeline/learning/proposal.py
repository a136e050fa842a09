"""Clip and scale for a task, from what one local round moves.

Legend: v = the update of a pilot, c the largest integer that travels for a weight,
Q(v) = round(clip(v, -clip, +clip) * c / clip) * clip / c.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Rejected

#: c: of the levels that were tried, the one that costs no accuracy for the fewest bytes.
LEVEL = 3
#: Where nobody looked at the data: within what did well for small networks at the learning rate 0.1, clips from 0.03 to 0.13.
DEFAULT_SCALE, DEFAULT_CLIP = 50, 0.06
#: Clips whose error is within this factor of the least do about as well: the residual brings the rest in later rounds.
_PLATEAU = 1.1
#: Clips that are tried, a geometric grid over three decades up to the largest movement.
_STEPS = 120
_LARGEST_SCALE = 2**31
#: The statistics' clip: half of them reach their place within a round, and never less than what did well. A network of two batch norms on MNIST (five miners
#: of 200 digits, six rounds): 0.92 in plain floating point, 0.68 with the weights' clip of 0.06, 0.92 with 0.5.
_STATISTICS_SHARE = 0.5
#: The clip of a network with batch norm where nobody looked at the data: with DEFAULT_SCALE, c = 25.
STATISTICS_CLIP = 0.5


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """What follows from a pilot, and why."""

    scale: int
    clip: float
    #: |Q(v) - v| / |v| over the weights: what the first round leaves to the residual.
    error: float
    #: The clips for weights, smallest and largest, that do about as well.
    plateau: tuple[float, float]
    #: |v| of the weights: median, 90 %, 99 %, largest.
    weights: tuple[float, float, float, float]
    #: The same of batch norm's statistics, where there are any.
    statistics: tuple[float, float, float, float] | None


def propose(delta: NDArray[np.float32], statistics: NDArray[np.bool_]) -> Proposal:
    """Scale from the weights, whose error is to be least at c = 3; clip from them too, or wider where statistics need it.

    `delta`: float32[d]; `statistics`: bool[d], batch norm's. Raises Rejected where no weight moved.
    """
    sizes = np.abs(delta[~statistics].astype(np.float64))
    sizes = sizes[sizes > 0]
    if not len(sizes):
        raise Rejected("pilot: the training moved no weight; take more epochs, or a higher learning rate")
    clips = np.geomspace(sizes.max() / 1000, sizes.max(), _STEPS)
    errors = np.array([_error(sizes, clip) for clip in clips])
    good = clips[errors <= errors.min() * _PLATEAU]
    scale = min(_LARGEST_SCALE, max(1, round(LEVEL / float(clips[errors.argmin()]))))
    level = max(LEVEL, _level_of(np.abs(delta[statistics].astype(np.float64)), scale))
    return Proposal(
        scale=scale,
        clip=level / scale,
        error=_error(sizes, LEVEL / scale),
        plateau=(float(good[0]), float(good[-1])),
        weights=_quantiles(sizes),
        statistics=_quantiles(np.abs(delta[statistics])) if statistics.any() else None,
    )


def _level_of(moved: NDArray[np.float64], scale: int) -> int:
    if not len(moved):
        return 0
    return math.ceil(max(STATISTICS_CLIP, float(np.quantile(moved, _STATISTICS_SHARE))) * scale)


def _error(sizes: NDArray[np.float64], clip: float) -> float:
    sent = np.rint(np.minimum(sizes, clip) * (LEVEL / clip)) * (clip / LEVEL)
    return float(np.linalg.norm(sizes - sent) / np.linalg.norm(sizes))


def _quantiles(sizes: NDArray[np.floating]) -> tuple[float, float, float, float]:
    middle, ninety, most, largest = np.quantile(sizes, (0.5, 0.9, 0.99, 1)).tolist()
    return middle, ninety, most, largest
