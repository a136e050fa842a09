"""The training loop, on one page: a miner's local epochs from the task's model.

Randomness is fresh and secret for every run: if it were derived from public data, or shared by two runs, their updates could
be compared. A seed is for tests and the demo alone.
"""

import io
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pipeline.errors import Corrupt, Rejected
from pipeline.learning.checkpoints import flatten
from pipeline.learning.datasets import DataSet
from pipeline.learning.evaluation import accuracy
from pipeline.protocol.task import Training

OPTIMIZERS: Mapping[str, type[torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The operator's; they win over the task's wishes."""

    max_epochs: int
    max_batch_size: int
    max_seconds: float


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What came of it."""

    #: w_old - w_new, float32[d].
    delta: NDArray[np.float32]
    #: Mean loss of each epoch that was trained, checkpointed ones included.
    losses: list[float]
    #: On the part of the data held back; None where nothing is.
    accuracy: float | None
    device: str
    #: What the operator's limits changed, as sentences.
    limited: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Checkpointing:
    """Where a training that was cut short goes on."""

    #: What `save` was given last, or None.
    resume: bytes | None = None
    save: Callable[[bytes], None] = field(default=lambda _state: None)


def train(
    module: nn.Module,
    dataset: DataSet,
    training: Training,
    limits: Limits,
    *,
    device: str = "auto",
    seed: int | None = None,
    report: Callable[[Mapping[str, Any]], None] = lambda _progress: None,
    checkpointing: Checkpointing | None = None,
) -> Trained:
    """Trains `module`, which holds the task's weights, and returns delta.

    Raises Rejected: an optimizer that is not known, a loss that is not finite (before the optimiser's step).
    """
    checkpointing = checkpointing or Checkpointing()
    device = choose_device(device)
    epochs, batch_size, limited = _within(training, limits)
    w_old = flatten(module.state_dict())
    module.to(device)
    optimizer = _optimizer(module, training)
    loss_of = nn.CrossEntropyLoss()
    losses = _resume(checkpointing.resume, module, optimizer)
    x, y = dataset.training
    begun = time.monotonic()

    for epoch in range(len(losses), epochs):
        # One generator an epoch: a resumed training shuffles as an uninterrupted one would.
        shuffle = np.random.default_rng(secrets.randbits(128) if seed is None else (seed, epoch)).permutation(len(y))
        module.train()
        total = 0.0
        for start in range(0, len(y), batch_size):
            batch = np.sort(shuffle[start : start + batch_size])
            inputs, labels = torch.from_numpy(x[batch]).to(device), torch.from_numpy(y[batch]).to(device)
            loss = loss_of(module(inputs), labels)
            if not torch.isfinite(loss):
                raise Rejected(f"the loss is {loss.item()} in epoch {epoch + 1}: is the task's learning rate too high?")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += float(loss.item()) * len(batch)
        losses.append(total / len(y))
        checkpointing.save(_checkpoint(module, optimizer, losses))
        report({"epoch": epoch + 1, "epochs": epochs, "loss": losses[-1]})
        if time.monotonic() - begun > limits.max_seconds and epoch + 1 < epochs:
            limited.append(f"stopped after epoch {epoch + 1} of {epochs}: FLFLEET_MAX_TRAINING_SECONDS")
            break

    delta = w_old - flatten(module.state_dict())
    if not np.isfinite(delta).all():
        raise Rejected("the weights became NaN or infinite: is the task's learning rate too high?")
    held_x, held_y = dataset.validation
    reached = accuracy(module, held_x, held_y, device) if len(held_y) else None
    return Trained(delta=delta, losses=losses, accuracy=reached, device=device, limited=limited)


def choose_device(wanted: str) -> str:
    """`auto` is the first GPU where there is one."""
    if wanted != "auto":
        return wanted
    return "cuda" if torch.cuda.is_available() else "cpu"


def _within(training: Training, limits: Limits) -> tuple[int, int, list[str]]:
    if training.epochs < 1 or training.batch_size < 1 or not 0 < training.learning_rate < 1e6:
        raise Rejected("the task's training needs epochs and batchSize of at least 1 and a learningRate above 0")
    limited = []
    epochs, batch_size = min(training.epochs, limits.max_epochs), min(training.batch_size, limits.max_batch_size)
    if epochs < training.epochs:
        limited.append(f"{epochs} epochs instead of {training.epochs}: FLFLEET_MAX_EPOCHS")
    if batch_size < training.batch_size:
        limited.append(f"batches of {batch_size} instead of {training.batch_size}: FLFLEET_MAX_BATCH_SIZE")
    return epochs, batch_size, limited


def _optimizer(module: nn.Module, training: Training) -> torch.optim.Optimizer:
    made = OPTIMIZERS.get(training.optimizer)
    if made is None:
        raise Rejected(f"optimizer {training.optimizer[:80]!r} is not known here; known are {', '.join(OPTIMIZERS)}")
    return made(module.parameters(), lr=training.learning_rate)  # type: ignore[call-arg]  # the base class has no lr


def _checkpoint(module: nn.Module, optimizer: torch.optim.Optimizer, losses: list[float]) -> bytes:
    buffer = io.BytesIO()
    torch.save({"model": module.state_dict(), "optimizer": optimizer.state_dict(), "losses": losses}, buffer)
    return buffer.getvalue()


def _resume(checkpoint: bytes | None, module: nn.Module, optimizer: torch.optim.Optimizer) -> list[float]:
    """Puts a checkpoint's weights and optimiser back; returns the losses of its epochs. Raises Corrupt."""
    if checkpoint is None:
        return []
    try:
        state = torch.load(io.BytesIO(checkpoint), map_location="cpu", weights_only=True)
        module.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        return [float(loss) for loss in state["losses"]]
    except (RuntimeError, KeyError, ValueError, TypeError, EOFError) as error:
        raise Corrupt(f"the training's checkpoint does not load: {error}") from None
