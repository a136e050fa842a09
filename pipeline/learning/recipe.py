"""What a task may ask of a training, by name and within bounds: optimisers, schedules, losses, class weights."""

import math
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from pipeline.errors import Rejected
from pipeline.learning.augmentation import augmentation_problems
from pipeline.learning.privacy import privacy_problems
from pipeline.protocol.task import Training

OPTIMIZERS: Mapping[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
}
#: Share of the run's steps done, 0 .. 1, to the factor of the learning rate.
SCHEDULES: Mapping[str, Callable[[float], float]] = {
    "constant": lambda _done: 1.0,
    "linear": lambda done: 1.0 - done,
    "cosine": lambda done: 0.5 * (1.0 + math.cos(math.pi * done)),
}
#: Far beyond any that learns; torch has no error of its own for one that its float32 cannot hold.
_LARGEST_RATE = 1e6
#: Focal loss's exponent (Lin et al. 2017).
_GAMMA = 2.0


def _cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    return functional.cross_entropy(logits, y, reduction="none")


def _focal(logits: Tensor, y: Tensor) -> Tensor:
    loss = _cross_entropy(logits, y)
    return (1 - torch.exp(-loss)) ** _GAMMA * loss


#: Logits [n, classes] and labels [n] to a loss for each sample.
LOSSES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {"cross_entropy": _cross_entropy, "focal": _focal}


def problems(training: Training) -> list[str]:
    """Everything that is unknown or out of range, each as half a sentence."""
    found = []
    for what, name, known in (
        ("optimizer", training.optimizer, OPTIMIZERS),
        ("schedule", training.schedule, SCHEDULES),
        ("loss", training.loss, LOSSES),
    ):
        if name not in known:
            found.append(f"{what} {name[:40]!r} is unknown; there are: {', '.join(known)}")
    if training.epochs < 1 or training.batch_size < 1:
        found.append(f"epochs and batchSize must be at least 1, got {training.epochs} and {training.batch_size}")
    if not 0 < training.learning_rate <= _LARGEST_RATE:
        found.append(f"learningRate must be above 0 and at most {_LARGEST_RATE:g}, got {training.learning_rate}")
    if not 0 <= training.momentum < 1 or (training.momentum and training.optimizer != "sgd"):
        found.append(f"momentum must be from 0 to below 1, and is sgd's alone, got {training.momentum}")
    for name, value in (("weightDecay", training.weight_decay), ("proximal", training.proximal)):
        if not 0 <= value <= _LARGEST_RATE:
            found.append(f"{name} must be from 0 to {_LARGEST_RATE:g}, got {value}")
    if training.clip_norm is not None and not 0 < training.clip_norm < math.inf:
        found.append(f"clipNorm must be above 0, got {training.clip_norm}")
    if training.patience is not None and training.patience < 1:
        found.append(f"patience must be at least 1, got {training.patience}")
    found += augmentation_problems(training.augmentation)
    found += privacy_problems(training)
    weights = training.class_weights
    if isinstance(weights, str) and weights != "balanced":
        found.append(f"classWeights must be a list or 'balanced', got {weights[:40]!r}")
    if isinstance(weights, list) and not (all(0 <= factor <= _LARGEST_RATE for factor in weights) and any(weights)):
        found.append(f"classWeights must be from 0 to {_LARGEST_RATE:g}, one of them above 0")
    return found


def make_optimiser(parameters: Iterable[Tensor], training: Training) -> torch.optim.Optimizer:
    """The task's, over these parameters."""
    options: dict[str, float] = {"lr": training.learning_rate, "weight_decay": training.weight_decay}
    if training.optimizer == "sgd":
        options["momentum"] = training.momentum
    return OPTIMIZERS[training.optimizer](list(parameters), **options)


class Loss:
    """The task's loss over a batch: the mean over its samples, weighted by class where the task says so."""

    def __init__(self, training: Training, labels: NDArray[np.int64]) -> None:
        self._of = LOSSES[training.loss]
        self._wanted = training.class_weights
        self._labels = labels

    def weights(self, classes: int) -> NDArray[np.float32] | None:
        """float32[classes], or None where all samples count alike. Raises Rejected for a list of another length."""
        if self._wanted is None:
            return None
        if isinstance(self._wanted, list):
            if len(self._wanted) != classes:
                raise Rejected(
                    f"task's training: classWeights are {len(self._wanted)}, the model has {classes} classes"
                )
            return np.array(self._wanted, dtype=np.float32)
        counts = np.bincount(self._labels, minlength=classes)
        present = np.count_nonzero(counts)
        return (len(self._labels) / (present * np.maximum(counts, 1))).astype(np.float32)

    def parts(self, logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The weighted sum of a part of a batch, and the sum of its weights: their quotient over the parts is the loss.

        Logits [..., n, classes] and labels [..., n] of several networks give [...].
        """
        each = self._of(logits.float().flatten(0, -2), y.flatten()).view(y.shape)
        weights = self.weights(logits.shape[-1])
        if weights is None:
            return each.sum(-1), torch.full(y.shape[:-1], float(y.shape[-1]), device=y.device)
        factors = torch.from_numpy(weights).to(y.device)[y]
        return (each * factors).sum(-1), factors.sum(-1)
