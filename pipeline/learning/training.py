"""The training loop: a network, private samples, the task's wishes within the operator's limits; out comes delta.

Legend: w the state dict's floating-point values, float32[d]; delta = w_old - w_new (docs/protocol.md, section 3).
"""

import math
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pipeline.errors import Misconfigured, Rejected
from pipeline.learning.augmentation import Augmentation
from pipeline.learning.data.datasets import Dataset
from pipeline.learning.devices import memory_of
from pipeline.learning.evaluation import BATCH_SIZE, measure
from pipeline.learning.gradients import accumulate, clip, pull
from pipeline.learning.models.checkpoints import flatten
from pipeline.learning.privacy import PrivateSteps
from pipeline.learning.recipe import OPTIMIZERS as OPTIMIZERS
from pipeline.learning.recipe import SCHEDULES, Loss, make_optimiser, problems
from pipeline.learning.training_checkpoint import Metrics, restore_checkpoint, write_checkpoint
from pipeline.protocol.task import Training

#: Between two reports inside an epoch: a caller that must stop a long training does so from `report`.
REPORT_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The operator's: they win over the task."""

    max_epochs: int
    max_batch_size: int
    #: Of one attempt; the training then ends with what it has learnt.
    max_seconds: float
    #: Largest epsilon that a training may spend on the samples; None: none is asked for.
    max_epsilon: float | None = None


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a training gives."""

    #: float32[d].
    delta: NDArray[np.float32]
    #: Complete ones.
    epochs: int
    #: Of each epoch: loss, heldLoss and heldAccuracy (None where nothing is held back), learningRate, seconds; with dp what was
    #: spent by its end (epsilon).
    metrics: list[Metrics]
    #: On the held-back part, 0 .. 1; None where nothing is held back.
    accuracy: float | None
    device: str
    seconds: float
    #: Where the operator's limits cut the task's wishes, in sentences.
    limited: list[str]
    #: Of differential privacy: epsilon, delta, noise, clip, steps, samplingRate, samples; None: the task asked for none.
    privacy: dict[str, Any] | None = None

    @property
    def losses(self) -> list[float]:
        """Mean training loss of each epoch."""
        return [float(epoch["loss"] or 0.0) for epoch in self.metrics]


def train(
    module: nn.Module,
    dataset: Dataset,
    training: Training,
    limits: Limits,
    *,
    device: torch.device,
    seed: int | None = None,
    threads: int | None = None,
    precision: torch.dtype | None = None,
    report: Callable[[Mapping[str, Any]], None] = lambda _progress: None,
    save: Callable[[Callable[[], bytes]], None] = lambda _make: None,
    resume: bytes | None = None,
) -> Trained:
    """Trains `module` in place.

    `seed`: fixed randomness for tests and the demo; None: fresh and secret. `threads`: torch's, of the whole process.
    `precision`: of the network's inner sums (bfloat16 on GPUs); None: float32. Weights and delta are float32 either way.
    `report` gets {"epoch", "epochs", "loss"}; `save` gets, after every epoch but the last, what makes a checkpoint; `resume` takes one.
    Raises Rejected: an unknown name, settings out of range, a loss or weights that are not finite; Misconfigured
    without training samples or where one sample exceeds the memory; Corrupt for a checkpoint that is none; whatever `report` and `save` raise.
    """
    begun = time.monotonic()
    if threads is not None:
        torch.set_num_threads(threads)
    training = dataset.description.wishes(training)
    check(training, dataset, limits)
    if training.dp is not None:
        precision = None  # gradients of single samples are kept in float32
    augment = Augmentation(training.augmentation, dataset.shape) if training.augmentation else None
    epochs, batch_size = min(training.epochs, limits.max_epochs), min(training.batch_size, limits.max_batch_size)
    limited = limits_met(training, limits, dataset)
    # 128 bits of the system's randomness: who could guess the order of the samples could test guesses of samples.
    secret = secrets.randbits(128) if seed is None else seed

    w_old = flatten(module.state_dict())
    module = module.to(device)
    anchors = [parameter.detach().clone() for parameter in module.parameters()] if training.proximal else []
    optimiser = make_optimiser(module.parameters(), training)
    loss = Loss(training, dataset.training.y[dataset.training.rows])
    metrics, spent = ([], []) if resume is None else restore_checkpoint(resume, module, optimiser)
    private = None
    if training.dp is not None:
        private = PrivateSteps(module, optimiser, training.dp, len(dataset.training), batch_size)
        private.restore(spent)
        private.check_budget(epochs - len(metrics), limits.max_epsilon)
    network = module if private is None else private.module
    part, reported, out_of_time = batch_size, begun, False

    def say(value: float) -> None:
        report({"epoch": len(metrics), "epochs": epochs, "loss": value, **memory_of(device)})

    while len(metrics) < epochs and not out_of_time and not is_enough(metrics, training.patience):
        rng = np.random.default_rng((secret, len(metrics)))
        torch.manual_seed(int(rng.integers(2**63)))  # dropout's
        if augment is not None:
            augment.begin(int(rng.integers(2**32)))
        if private is None:
            batches = list(batches_of(rng.permutation(len(dataset.training)), batch_size))
        else:
            batches = list(private.batches(rng))
        total, seen, started = 0.0, 0, time.monotonic()
        module.train()
        for number, positions in enumerate(batches):
            rate = training.learning_rate * SCHEDULES[training.schedule](
                (len(metrics) + number / len(batches)) / epochs
            )
            for group in optimiser.param_groups:
                group["lr"] = rate

            x, y = dataset.training.take(positions)
            if augment is not None and len(y):
                x = augment(x)
            if private is not None:
                private.begin()
            if len(y):
                value, fitted = accumulate(network, loss, x, y, part=part, device=device, precision=precision)
            else:
                assert private is not None, "only Poisson batches may be empty"
                private.skip()
                value, fitted = 0.0, part
            if fitted < part:
                limited.append(f"batches computed in parts of {fitted}: more did not fit into the memory of {device}")
                part = fitted
            if not math.isfinite(value):
                raise diverged(value, len(metrics) + 1, training)
            if private is not None:
                private.privatise()
            if anchors:
                pull(module, anchors, training.proximal)
            clip(module, training.clip_norm)
            optimiser.step()

            total, seen, now = total + value * len(y), seen + len(y), time.monotonic()
            if now - reported >= REPORT_SECONDS:
                reported = now
                say(total / max(seen, 1))
            if now - begun > limits.max_seconds:
                out_of_time = True
                limited.append(out_of_seconds(len(metrics), epochs, limits))
                break
        else:
            right, held_loss = _measured(module, dataset, device, part if part < batch_size else BATCH_SIZE)
            metrics.append(
                {
                    "loss": total / max(seen, 1),
                    "heldLoss": held_loss,
                    "heldAccuracy": right,
                    "learningRate": rate,
                    "seconds": round(time.monotonic() - started, 3),
                    **({} if private is None else {"epsilon": private.spent()}),
                }
            )
            say(total / max(seen, 1))
            if len(metrics) < epochs:
                spent = () if private is None else private.history
                save(partial(write_checkpoint, module, optimiser, metrics, spent))
    if private is not None:
        private.close()
    if len(metrics) < epochs and not out_of_time:
        limited.append(ended_early(len(metrics), epochs, training))

    delta = finite_delta(w_old, module, training)
    if out_of_time or not metrics:
        right, _ = _measured(module, dataset, device, part if part < batch_size else BATCH_SIZE)
    else:
        right = metrics[-1]["heldAccuracy"]
    return Trained(
        delta=delta,
        epochs=len(metrics),
        metrics=metrics,
        accuracy=right,
        device=str(device),
        seconds=time.monotonic() - begun,
        limited=limited,
        privacy=None if private is None else private.figures(),
    )


def _measured(
    module: nn.Module, dataset: Dataset, device: torch.device, at_once: int
) -> tuple[float | None, float | None]:
    """Accuracy and loss on the held-back part, if there is one; what memory holds with gradients it holds without."""
    if not len(dataset.held_back):
        return None, None
    return measure(module, dataset.held_back, device, batch_size=at_once)


def is_enough(metrics: list[Metrics], patience: int | None) -> bool:
    """Whether the held-back loss was at its lowest `patience` or more epochs ago."""
    held = [epoch["heldLoss"] for epoch in metrics]
    if patience is None or not held or None in held:
        return False
    return len(held) - 1 - held.index(min(loss for loss in held if loss is not None)) >= patience


def batches_of(order: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    """Cuts an epoch's order. A last batch of one joins the one before: batch norm has no variance of one sample."""
    edges = list(range(size, len(order), size))
    if size > 1 and edges and len(order) - edges[-1] == 1:
        edges.pop()
    return iter(np.split(order, edges))


def check(training: Training, dataset: Dataset, limits: Limits) -> None:
    """Raises Rejected for settings that are unknown, out of range or not the operator's; Misconfigured without samples."""
    if found := problems(training):
        raise Rejected(*(f"task's training: {problem}" for problem in found))
    if not len(dataset.training):
        raise Misconfigured("every sample is held back from training; lower FLFLEET_VALIDATION_SHARE or add samples")
    if limits.max_epsilon is not None and training.dp is None:
        raise Rejected("task's training has no dp, and this operator asks for it (FLFLEET_MAX_EPSILON)")


def diverged(loss: float, epoch: int, training: Training) -> Rejected:
    """The error of a loss that is not finite."""
    return Rejected(
        f"training: the loss is {loss} in epoch {epoch}; the task's learning rate "
        f"{training.learning_rate} is too high for this model, or the data's values are far out of range"
    )


def finite_delta(w_old: NDArray[np.float32], module: nn.Module, training: Training) -> NDArray[np.float32]:
    """float32[d]. Raises Rejected where the weights are not finite."""
    delta = w_old - flatten(module.state_dict())
    if not np.isfinite(delta).all():
        raise Rejected(
            f"training: weights became NaN or infinite; the learning rate {training.learning_rate} is too high"
        )
    return delta


def ended_early(done: int, epochs: int, training: Training) -> str:
    """The sentence of a training that patience ended."""
    return f"ended after epoch {done} of {epochs}: no better in {training.patience} epochs (patience)"


def out_of_seconds(done: int, epochs: int, limits: Limits) -> str:
    """The sentence of a training that the operator's limit of time ended."""
    return f"stopped in epoch {done + 1} of {epochs} after {limits.max_seconds:g} s"


def limits_met(training: Training, limits: Limits, dataset: Dataset) -> list[str]:
    """Where the operator's limits cut the task's wishes, in sentences."""
    limited = []
    if training.epochs > limits.max_epochs:
        limited.append(f"{training.epochs} epochs asked for, {limits.max_epochs} done (FLFLEET_MAX_EPOCHS)")
    if training.batch_size > limits.max_batch_size:
        limited.append(
            f"batches of {training.batch_size} asked for, {limits.max_batch_size} done (FLFLEET_MAX_BATCH_SIZE)"
        )
    if training.patience is not None and not len(dataset.held_back):
        limited.append("patience is of no use here: no sample is held back")
    return limited
