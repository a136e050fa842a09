"""The gradient of a batch, in as many parts as memory asks for: the step is the whole batch's whatever the parts."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.errors import Misconfigured
from pipeline.learning.recipe import Loss


def accumulate(
    module: nn.Module,
    loss: Loss,
    x: NDArray[np.float32],
    y: NDArray[np.int64],
    *,
    part: int,
    device: torch.device,
    precision: torch.dtype | None = None,
) -> tuple[float, int]:
    """Puts the gradient of the batch's loss into the parameters; returns the loss and the samples a part that fitted.

    `part`: samples a part to begin with. A memory error halves it; batch norm then sees the parts. `precision`: autocast's,
    None for float32. Raises Misconfigured where not even one sample fits.
    """
    while True:
        module.zero_grad(set_to_none=True)
        value = _attempt(module, loss, x, y, part, device, precision)
        if value is not None:
            return value, part
        if part == 1:
            raise Misconfigured(
                f"one sample does not fit into the memory of {device}: FLFLEET_DEVICE names another, FLFLEET_WORKERS fewer processes"
            )
        part = -(-min(part, len(y)) // 2)
        if device.type == "cuda":
            torch.cuda.empty_cache()


def reduced_precision(device: torch.device) -> torch.dtype | None:
    """bfloat16 where the GPU has it (its range is float32's, so that no loss need be scaled); None: float32."""
    return torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else None


def clip(module: nn.Module, largest: float | None) -> None:
    """Scales the whole gradient so that its L2 norm is at most `largest`."""
    if largest is not None:
        nn.utils.clip_grad_norm_(module.parameters(), largest)


def pull(module: nn.Module, anchors: list[Tensor], mu: float) -> None:
    """Adds the gradient of FedProx's mu/2 * |w - w_old|^2."""
    for parameter, anchor in zip(module.parameters(), anchors, strict=True):
        if parameter.grad is not None:
            parameter.grad.add_(parameter.detach() - anchor, alpha=mu)


def _attempt(
    module: nn.Module,
    loss: Loss,
    x: NDArray[np.float32],
    y: NDArray[np.int64],
    part: int,
    device: torch.device,
    precision: torch.dtype | None,
) -> float | None:
    """The loss, or None for a memory error; returning lets go of what the failed attempt holds."""
    try:
        total, weight = 0.0, 0.0
        for rows in np.array_split(np.arange(len(y)), max(1, -(-len(y) // part))):
            inputs, labels = torch.from_numpy(x[rows]).to(device), torch.from_numpy(y[rows]).to(device)
            with torch.autocast(device.type, dtype=precision, enabled=precision is not None):
                logits = module(inputs)
            summed, weighed = loss.parts(logits, labels)
            summed.backward()  # type: ignore[no-untyped-call, unused-ignore]  # torch leaves it untyped
            total, weight = total + float(summed.item()), weight + float(weighed.item())
    except (RuntimeError, MemoryError) as error:
        if not _is_memory(error):
            raise
        return None
    if weight and math.isfinite(total):
        _divide(module, weight)
        return total / weight
    return total


def _divide(module: nn.Module, weight: float) -> None:
    for parameter in module.parameters():
        if parameter.grad is not None:
            parameter.grad.div_(weight)


def _is_memory(error: Exception) -> bool:
    """torch has a class for a GPU's memory, and only a text for the CPU's."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)
