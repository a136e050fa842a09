"""Differential privacy of a training's samples by Opacus (the extra `privacy`): DP-SGD with Poisson batches and Renyi accounting.

What is protected is one sample of the training part, in the update that leaves. A patient with several samples is protected less, and the
held-back part, which only measures, is not counted. Noise comes from torch's generator, freshly and secretly seeded; not from a
cryptographic one. Sources: Abadi et al. 2016; Mironov et al. 2019 (sampled Gaussian mechanism).
"""

import math
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Misconfigured, Rejected
from pipeline.protocol.task import Privacy, Training

if TYPE_CHECKING:
    import torch
    from torch import nn

#: (noise multiplier, sampling rate, steps), as Opacus's accountants keep it.
History = list[tuple[float, float, int]]
_LARGEST = 1e6


def privacy_problems(training: Training) -> list[str]:
    """Everything about `dp` that is out of range or would break its promise, each as half a sentence."""
    dp = training.dp
    if dp is None:
        return []
    found = [
        f"dp's {name} must be above 0 and at most {_LARGEST:g}, got {value}"
        for name, value in (("noise", dp.noise), ("clip", dp.clip))
        if not 0 < value <= _LARGEST
    ]
    if not 0 < dp.delta < 1:
        found.append(f"dp's delta must be above 0 and below 1, got {dp.delta}")
    if training.class_weights == "balanced":
        found.append("dp does not go with classWeights 'balanced', which follow from all labels; give a list")
    if training.patience is not None:
        found.append("dp does not go with patience, which looks at samples that it does not protect")
    return found


class PrivateSteps:
    """Clips each sample's gradient, adds noise, and keeps account of what that spends."""

    def __init__(
        self, module: "nn.Module", optimiser: "torch.optim.Optimizer", dp: Privacy, samples: int, batch_size: int
    ) -> None:
        """Raises Misconfigured without Opacus, Rejected for a network it cannot serve or a delta too large for the data."""
        try:
            from opacus import GradSampleModule
            from opacus.accountants import RDPAccountant
            from opacus.optimizers import DPOptimizer
            from opacus.validators import ModuleValidator
        except ImportError:
            raise Misconfigured(
                "the task's training asks for differential privacy, which needs Opacus: pip install 'flfleet[privacy]'"
            ) from None
        if errors := ModuleValidator.validate(module, strict=False):
            raise Rejected(f"task's training: dp does not go with this network: {str(errors[0])[:300]}")
        if dp.delta >= 1 / samples:
            raise Rejected(
                f"task's training: dp's delta {dp.delta:g} is no promise for {samples} samples; it must be below {1 / samples:.2g}"
            )
        # torch says that the first layer's inputs want no gradient: they are samples.
        warnings.filterwarnings("ignore", message="Full backward hook is firing")
        self.module = GradSampleModule(module, loss_reduction="sum")
        self.rate = min(1.0, batch_size / samples)
        self._steps_an_epoch = math.ceil(samples / batch_size)
        self._dp, self._samples, self._expected = dp, samples, self.rate * samples
        self._optimiser = DPOptimizer(
            optimiser, noise_multiplier=dp.noise, max_grad_norm=dp.clip, expected_batch_size=None, loss_reduction="sum"
        )
        self._accountant = RDPAccountant()

    @property
    def history(self) -> History:
        """For the checkpoint: what has been spent."""
        return list(self._accountant.history)

    def restore(self, history: Sequence[Sequence[float]]) -> None:
        """Goes on from an earlier account."""
        self._accountant.history = [(float(noise), float(rate), int(steps)) for noise, rate, steps in history]

    def batches(self, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
        """An epoch's: every sample is in each with the same chance, as the account supposes; one may be empty."""
        for _ in range(self._steps_an_epoch):
            yield np.flatnonzero(rng.random(self._samples) < self.rate)

    def begin(self) -> None:
        """A batch begins."""
        self._optimiser.zero_grad()

    def skip(self) -> None:
        """A batch without samples: noise alone."""
        import torch

        for parameter in self.module.parameters():
            parameter.grad_sample = torch.zeros(0, *parameter.shape, device=parameter.device)

    def privatise(self) -> None:
        """Puts the private gradient in the place of the plain one, and into the account."""
        self._optimiser.pre_step()
        for parameter in self.module.parameters():
            if parameter.grad is not None:
                parameter.grad.div_(self._expected)
        self._accountant.step(noise_multiplier=self._dp.noise, sample_rate=self.rate)

    def check_budget(self, epochs_left: int, largest: float | None) -> None:
        """Raises Rejected where the epochs to come would pass the operator's epsilon."""
        if largest is None:
            return
        planned = self._epsilon([*self.history, (self._dp.noise, self.rate, epochs_left * self._steps_an_epoch)])
        if planned > largest:
            raise Rejected(
                f"task's training: dp would spend epsilon {planned:.2f} at delta {self._dp.delta:g} on this data, at most "
                f"{largest:g} is allowed (FLFLEET_MAX_EPSILON)"
            )

    def spent(self) -> float:
        """Epsilon at the task's delta, so far."""
        return round(self._epsilon(self.history), 6)

    def figures(self) -> dict[str, Any]:
        """What was spent, for the run's figures."""
        return {
            "epsilon": self.spent(),
            "delta": self._dp.delta,
            "noise": self._dp.noise,
            "clip": self._dp.clip,
            "steps": sum(steps for _, _, steps in self.history),
            "samplingRate": self.rate,
            "samples": self._samples,
        }

    def close(self) -> None:
        """Takes the hooks off the network."""
        self.module.to_standard_module()

    def _epsilon(self, history: History) -> float:
        from opacus.accountants import RDPAccountant

        accountant = RDPAccountant()
        accountant.history = [entry for entry in history if entry[2]]
        if not accountant.history:
            return 0.0
        with warnings.catch_warnings():
            # It warns where the best order is the last that it tries: the bound holds all the same.
            warnings.simplefilter("ignore")
            return float(accountant.get_epsilon(self._dp.delta))
