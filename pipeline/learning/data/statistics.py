"""Batch norm's running statistics among the coordinates of a model: measured by every training anew, and in units of their own.

Three things set them apart from weights. A training finds them from its own data whatever they were before, so what a round left unsent
is found again by the next: kept in the residual as well, it would be sent twice and overshoot. They move further than weights. And a
variance must stay positive, or the network answers NaN.

Legend: d coordinates, the floating-point values of a state dict in its order; a span is (start, stop) among them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from pipeline.learning.data.datasets import Samples

Span = tuple[int, int]
#: Samples that statistics are set from: some hundred give them to a few percent.
CALIBRATION_SAMPLES = 512
_BATCH = 64


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Where they are."""

    #: Means and variances, ascending; neighbours are one span.
    spans: Sequence[Span]
    variances: Sequence[Span]

    def mask(self, dimension: int) -> NDArray[np.bool_]:
        """bool[d]: which coordinates are statistics."""
        found = np.zeros(dimension, dtype=np.bool_)
        for start, stop in self.spans:
            found[start:stop] = True
        return found


def statistics_of(module: nn.Module) -> Statistics:
    """Of every batch norm in a network."""
    names = {
        f"{path}.{name}" if path else name: name
        for path, layer in module.named_modules()
        if isinstance(layer, _BatchNorm)
        for name in ("running_mean", "running_var")
    }
    every = [(names.get(name), span) for name, span in _spans(module)]
    joined: list[Span] = []
    for start, stop in (span for name, span in every if name is not None):
        if joined and joined[-1][1] == start:
            joined[-1] = (joined[-1][0], stop)
        else:
            joined.append((start, stop))
    return Statistics(spans=joined, variances=[span for name, span in every if name == "running_var"])


def calibrate(module: nn.Module, samples: Samples) -> None:
    """Sets the statistics to those of some samples, the weights staying as they are."""
    layers = [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the plain mean over the batches
    was_training = module.training
    module.train()
    with torch.no_grad():
        count = min(len(samples), CALIBRATION_SAMPLES)
        for positions in np.array_split(np.arange(count), max(1, count // _BATCH)):
            module(torch.from_numpy(samples.take(positions)[0]))
    module.train(was_training)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum


def keep_positive(
    delta: NDArray[np.float32], w_old: NDArray[np.float32], statistics: Statistics, scale: int
) -> NDArray[np.float32]:
    """delta, changed in place: a variance falls by half at most, in whole steps of 1/scale, so that rounding cannot pass it."""
    for start, stop in statistics.variances:
        most = np.floor(w_old[start:stop].astype(np.float64) * scale / 2) / scale
        delta[start:stop] = np.minimum(delta[start:stop], np.maximum(most, 0))
    return delta


def _spans(module: nn.Module) -> Iterator[tuple[str, Span]]:
    position = 0
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            yield name, (position, position + tensor.numel())
            position += tensor.numel()
