"""How often a network is right."""

import numpy as np
import torch
from torch import nn

from pipeline.learning.datasets import Samples

_BATCH = 512


def accuracy(module: nn.Module, samples: Samples, device: torch.device | str = "cpu") -> float:
    """The share of samples whose class gets the highest logit, 0 .. 1. Raises ValueError without samples.

    A network whose logits are not finite is right nowhere.
    """
    if not len(samples):
        raise ValueError("no samples to measure accuracy on")
    module = module.to(device).eval()
    right = 0
    with torch.inference_mode():
        for start in range(0, len(samples), _BATCH):
            x, y = samples.take(np.arange(start, min(start + _BATCH, len(samples))))
            logits = module(torch.from_numpy(x).to(device)).cpu()
            hits = (logits.argmax(1) == torch.from_numpy(y)) & logits.isfinite().all(1)
            right += int(hits.sum())
    return right / len(samples)
