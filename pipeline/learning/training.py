"""The training loop: a network, private samples, the task's wishes within the operator's limits; out comes delta.

Legend: w the state dict's floating-point values, float32[d]; delta = w_old - w_new (PROTOCOL.md section 3).
"""

import math
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from pipeline.errors import Misconfigured, Rejected
from pipeline.learning.checkpoints import flatten
from pipeline.learning.datasets import Dataset
from pipeline.learning.evaluation import accuracy
from pipeline.learning.training_checkpoint import restore_checkpoint, write_checkpoint
from pipeline.protocol.task import Training

OPTIMIZERS: Mapping[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
}
#: Far beyond any that learns; torch has no error of its own for one that its float32 cannot hold.
_LARGEST_RATE = 1e6
#: Between two reports inside an epoch: a caller that must stop a long training does so from `report`.
_REPORT_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The operator's: they win over the task."""

    max_epochs: int
    max_batch_size: int
    #: Of one attempt; the training then ends with what it has learnt.
    max_seconds: float


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a training gives."""

    #: float32[d].
    delta: NDArray[np.float32]
    #: Complete ones.
    epochs: int
    #: Mean training loss of each epoch.
    losses: list[float]
    #: On the held-back part, 0 .. 1; None where nothing is held back.
    accuracy: float | None
    device: str
    seconds: float
    #: Where the operator's limits cut the task's wishes, in sentences.
    limited: list[str]


def train(
    module: nn.Module,
    dataset: Dataset,
    training: Training,
    limits: Limits,
    *,
    device: torch.device,
    seed: int | None = None,
    threads: int | None = None,
    report: Callable[[Mapping[str, Any]], None] = lambda _progress: None,
    save: Callable[[bytes], None] = lambda _checkpoint: None,
    resume: bytes | None = None,
) -> Trained:
    """Trains `module` in place.

    `seed`: fixed randomness for tests and the demo; None: fresh and secret. `threads`: torch's, of the whole process.
    `report` gets {"epoch", "epochs", "loss"}; `save` gets a checkpoint after every epoch but the last, `resume` takes one.
    Raises Rejected: an unknown optimiser, settings out of range, a loss or weights that are not finite; Misconfigured
    without training samples; Corrupt for a checkpoint that is none; whatever `report` and `save` raise.
    """
    begun = time.monotonic()
    if threads is not None:
        torch.set_num_threads(threads)
    _check(training, dataset)
    epochs, batch_size = min(training.epochs, limits.max_epochs), min(training.batch_size, limits.max_batch_size)
    limited = _limited(training, limits)
    # 128 bits of the system's randomness: who could guess the order of the samples could test guesses of samples.
    secret = secrets.randbits(128) if seed is None else seed

    w_old = flatten(module.state_dict())
    module = module.to(device)
    optimiser = OPTIMIZERS[training.optimizer](module.parameters(), lr=training.learning_rate)
    losses = [] if resume is None else restore_checkpoint(resume, module, optimiser)
    reported, out_of_time = begun, False

    module.train()
    while len(losses) < epochs and not out_of_time:
        rng = np.random.default_rng((secret, len(losses)))
        torch.manual_seed(int(rng.integers(2**63)))  # dropout's
        total, seen = 0.0, 0
        for positions in _batches(rng.permutation(len(dataset.training)), batch_size):
            x, y = (torch.from_numpy(part).to(device) for part in dataset.training.take(positions))
            loss = functional.cross_entropy(module(x), y)
            value = float(loss.item())
            if not math.isfinite(value):
                raise Rejected(
                    f"training: the loss is {value} in epoch {len(losses) + 1}; the task's learning rate "
                    f"{training.learning_rate} is too high for this model, or the data's values are far out of range"
                )
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call, unused-ignore]  # torch leaves it untyped
            optimiser.step()

            total, seen, now = total + value * len(y), seen + len(y), time.monotonic()
            if now - reported >= _REPORT_SECONDS:
                reported = now
                report({"epoch": len(losses), "epochs": epochs, "loss": total / seen})
            if now - begun > limits.max_seconds:
                out_of_time = True
                limited.append(f"stopped in epoch {len(losses) + 1} of {epochs} after {limits.max_seconds:g} s")
                break
        else:
            losses.append(total / seen)
            report({"epoch": len(losses), "epochs": epochs, "loss": losses[-1]})
            if len(losses) < epochs:
                save(write_checkpoint(module, optimiser, losses))

    delta = w_old - flatten(module.state_dict())
    if not np.isfinite(delta).all():
        raise Rejected(
            f"training: weights became NaN or infinite; the learning rate {training.learning_rate} is too high"
        )
    return Trained(
        delta=delta,
        epochs=len(losses),
        losses=losses,
        accuracy=accuracy(module, dataset.held_back, device) if len(dataset.held_back) else None,
        device=str(device),
        seconds=time.monotonic() - begun,
        limited=limited,
    )


def _batches(order: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    """Cuts an epoch's order. A last batch of one joins the one before: batch norm has no variance of one sample."""
    edges = list(range(size, len(order), size))
    if size > 1 and edges and len(order) - edges[-1] == 1:
        edges.pop()
    return iter(np.split(order, edges))


def _check(training: Training, dataset: Dataset) -> None:
    problems = []
    if training.optimizer not in OPTIMIZERS:
        problems.append(f"optimizer {training.optimizer[:40]!r} is unknown; there are: {', '.join(OPTIMIZERS)}")
    if training.epochs < 1 or training.batch_size < 1:
        problems.append(f"epochs and batchSize must be at least 1, got {training.epochs} and {training.batch_size}")
    if not 0 < training.learning_rate <= _LARGEST_RATE:
        problems.append(f"learningRate must be above 0 and at most {_LARGEST_RATE:g}, got {training.learning_rate}")
    if problems:
        raise Rejected(*(f"task's training: {problem}" for problem in problems))
    if not len(dataset.training):
        raise Misconfigured("every sample is held back from training; lower FLFLEET_VALIDATION_SHARE or add samples")


def _limited(training: Training, limits: Limits) -> list[str]:
    limited = []
    if training.epochs > limits.max_epochs:
        limited.append(f"{training.epochs} epochs asked for, {limits.max_epochs} done (FLFLEET_MAX_EPOCHS)")
    if training.batch_size > limits.max_batch_size:
        limited.append(
            f"batches of {training.batch_size} asked for, {limits.max_batch_size} done (FLFLEET_MAX_BATCH_SIZE)"
        )
    return limited
