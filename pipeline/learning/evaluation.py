"""How good a model is on labelled data."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

_BATCH = 512


def accuracy(module: nn.Module, x: NDArray[np.float32], y: NDArray[np.int64], device: str = "cpu") -> float:
    """The share of samples whose largest logit is their class. x: float32 [n, ...], y: int64 [n], n >= 1."""
    module.eval().to(device)
    right = 0
    with torch.inference_mode():
        for start in range(0, len(y), _BATCH):
            logits = module(torch.from_numpy(np.array(x[start : start + _BATCH])).to(device))
            right += int((logits.argmax(1).cpu().numpy() == y[start : start + _BATCH]).sum())
    return right / len(y)
