"""A training between two epochs, as bytes: read back without running anything in them."""

import io
import pickle
from collections.abc import Sequence

import torch
from torch import nn

from pipeline.errors import Corrupt


def write_checkpoint(module: nn.Module, optimiser: torch.optim.Optimizer, losses: Sequence[float]) -> bytes:
    """State of model and optimiser; the number of losses is the number of epochs done."""
    sink = io.BytesIO()
    state = {"model": module.state_dict(), "optimizer": optimiser.state_dict(), "losses": list(losses)}
    torch.save(state, sink)
    return sink.getvalue()


def restore_checkpoint(data: bytes, module: nn.Module, optimiser: torch.optim.Optimizer) -> list[float]:
    """Puts model and optimiser back and returns the losses so far. Raises Corrupt for what `write_checkpoint` did not write."""
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        module.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimizer"])
        return [float(loss) for loss in state["losses"]]
    except (RuntimeError, pickle.UnpicklingError, EOFError, KeyError, TypeError, ValueError) as error:
        raise Corrupt(f"training's checkpoint cannot be taken up again: {str(error)[:200]}") from None
