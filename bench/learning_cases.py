"""What the learning bench measures: models, federations, plans, and the targets."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bench.learning_data import digits, tumours
from pipeline.learning.models.architectures import build
from pipeline.protocol.task import Architecture, Training

Arrays = tuple[NDArray[np.float32], NDArray[np.int64]]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A task's rounds, as `flfleet publish --plan .. --scale .. --clip .. --pack ..` takes them."""

    #: The share that the last of `shares` is, and the plan's name.
    ratio: float
    #: Of the coordinates, for rounds 1, 2, ..; the last one holds for all later rounds.
    shares: tuple[float, ...]
    scale: int
    clip: float
    #: Rounds after which the target is judged.
    rounds: int
    #: Most points below dense FedAvg.
    target: float

    def share(self, number: int) -> float:
        """Of round `number`, from 1."""
        return self.shares[min(number, len(self.shares)) - 1]

    @property
    def document(self) -> dict[str, Any]:
        """What a measurement is valid for."""
        return {**asdict(self), "shares": list(self.shares)}


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A network and its data."""

    name: str
    data: Callable[[], Arrays]
    network: Callable[[], nn.Module]
    #: Samples that nobody trains on.
    test: int
    seeds: int
    training: Training
    plans: tuple[Plan, ...]

    def module(self, seed: int) -> nn.Module:
        """Freshly initialised; the same for every rule."""
        torch.manual_seed(seed)
        return self.network()


def cnn() -> nn.Module:
    """Two convolutions and two linear layers: 54,164 parameters."""
    return nn.Sequential(
        *(nn.Conv2d(1, 8, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(256, 190), nn.ReLU(), nn.Linear(190, 10)),
    )


def _registered(name: str, **kwargs: int) -> Callable[[], nn.Module]:
    return lambda: build(Architecture(name=name, kwargs=kwargs))


#: Small shares come down to theirs over some rounds (the warm-up of Lin et al. 2018), and take a larger clip with more steps:
#: what waits long grows beyond a round's change.
PLANS = (
    Plan(ratio=1.0, shares=(1.0,), scale=50, clip=0.06, rounds=20, target=0.5),
    Plan(ratio=0.1, shares=(1.0, 0.25, 0.1), scale=70, clip=0.1, rounds=20, target=0.5),
    Plan(ratio=0.03, shares=(1.0, 0.3, 0.2, 0.13, 0.08, 0.05, 0.03), scale=70, clip=0.1, rounds=20, target=1.0),
    Plan(ratio=0.01, shares=(1.0, 0.25, 0.1, 0.04, 0.02, 0.01), scale=100, clip=0.15, rounds=40, target=1.0),
)
#: Where a hundredth is few coordinates the warm-up is longer: it costs next to nothing in bytes beside the wish and the first rounds.
_SLOW = (1.0, 0.5, 0.35, 0.25, 0.18, 0.12, 0.09, 0.06, 0.045, 0.03, 0.02, 0.015, 0.01)
CNN_PLANS = (*PLANS[:3], replace(PLANS[3], shares=_SLOW))
#: A small network on few samples moves less in a round, so its steps are finer.
SMALL_PLANS = (PLANS[0], replace(PLANS[1], scale=150), replace(PLANS[2], scale=150), replace(PLANS[3], shares=_SLOW))

_SGD = Training(epochs=1, batch_size=16, learning_rate=0.1)
WORKLOADS = {
    each.name: each
    for each in (
        Workload(name="mlp", data=digits, network=_registered("mlp"), test=1000, seeds=3, training=_SGD, plans=PLANS),
        Workload(name="cnn", data=digits, network=cnn, test=1000, seeds=3, training=_SGD, plans=CNN_PLANS),
        Workload(
            name="tumours",
            data=tumours,
            network=_registered("mlp", in_features=30, hidden=64, num_classes=2),
            test=169,
            seeds=5,
            training=_SGD,
            plans=SMALL_PLANS,
        ),
    )
}
#: Miners, and whether their labels are skewed.
FEDERATIONS = ((5, False), (5, True), (20, False), (20, True))
