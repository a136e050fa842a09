"""A training between two epochs, as bytes: read back without running anything in them."""

import io
import pickle
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from pipeline.errors import Corrupt

#: What is known of an epoch: loss, held-back loss and accuracy (None without a held-back part), learning rate, seconds, epsilon (dp alone).
Metrics = dict[str, float | None]


_BROKEN = (RuntimeError, pickle.UnpicklingError, EOFError, KeyError, AttributeError, TypeError, ValueError)
#: What privacy was spent: (noise multiplier, sampling rate, steps) in order.
Spent = Sequence[tuple[float, float, int]]


def write_checkpoint(
    module: nn.Module, optimiser: torch.optim.Optimizer, metrics: Sequence[Metrics], spent: Spent = ()
) -> bytes:
    """State of model, optimiser and privacy's account; there are as many metrics as epochs are done."""
    sink = io.BytesIO()
    state = {
        "model": module.state_dict(),
        "optimizer": optimiser.state_dict(),
        "metrics": list(metrics),
        "spent": list(spent),
    }
    torch.save(state, sink)
    return sink.getvalue()


def restore_checkpoint(data: bytes, module: nn.Module, optimiser: torch.optim.Optimizer) -> tuple[list[Metrics], Spent]:
    """Puts model and optimiser back and returns the epochs so far and what privacy they spent. Raises Corrupt for what `write_checkpoint` did not write."""
    try:
        state = _read(data)
        module.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimizer"])
        metrics = [{str(name): value for name, value in epoch.items()} for epoch in state["metrics"]]
        spent = [(float(noise), float(rate), int(steps)) for noise, rate, steps in state.get("spent", [])]
    except _BROKEN as error:
        raise _corrupt(error) from None
    return metrics, spent


def epochs_of(data: bytes) -> int:
    """How many epochs a checkpoint has behind it. Raises Corrupt as `restore_checkpoint`."""
    try:
        return len(_read(data)["metrics"])
    except _BROKEN as error:
        raise _corrupt(error) from None


def _read(data: bytes) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return state


def _corrupt(error: Exception) -> Corrupt:
    return Corrupt(f"training's checkpoint cannot be taken up again: {str(error)[:200]}")
