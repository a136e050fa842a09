"""How often a network is right."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.learning.data.datasets import Samples

BATCH_SIZE = 512


def accuracy(
    module: nn.Module, samples: Samples, device: torch.device | str = "cpu", *, batch_size: int = BATCH_SIZE
) -> float:
    """The share of samples whose class gets the highest logit, 0 .. 1. Raises ValueError without samples.

    A network whose logits are not finite is right nowhere.
    """
    return measure(module, samples, device, batch_size=batch_size)[0]


def measure(
    module: nn.Module, samples: Samples, device: torch.device | str = "cpu", *, batch_size: int = BATCH_SIZE
) -> tuple[float, float]:
    """Accuracy as above, and the mean cross entropy. Leaves the network in evaluation mode. Raises ValueError."""
    if not len(samples):
        raise ValueError("no samples to measure accuracy on")
    module = module.to(device).eval()
    right, loss = 0, 0.0
    with torch.inference_mode():
        for start in range(0, len(samples), batch_size):
            x, y = samples.take(np.arange(start, min(start + batch_size, len(samples))))
            hits, lost = scores(module(torch.from_numpy(x).to(device)).cpu(), torch.from_numpy(y))
            right, loss = right + int(hits), loss + float(lost)
    return right / len(samples), loss / len(samples)


def scores(logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """How many of the samples are right, int64[...], and their summed cross entropy, float64[...].

    `logits` [..., n, classes], on the CPU: of one network, or of several for the same labels `y` [n].
    """
    labels = y.expand(logits.shape[:-1])
    each = functional.cross_entropy(logits.double().flatten(0, -2), labels.flatten(), reduction="none")
    hits = (logits.argmax(-1) == labels) & logits.isfinite().all(-1)
    return hits.sum(-1), each.view(labels.shape).sum(-1)
