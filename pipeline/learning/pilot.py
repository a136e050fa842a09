"""A pilot: one local round of a task on the publisher's own data, before anybody else sees the task."""

from dataclasses import dataclass

import torch

from pipeline.learning.data.datasets import Dataset
from pipeline.learning.data.statistics import calibrate, statistics_of
from pipeline.learning.models.checkpoints import Model
from pipeline.learning.proposal import Proposal, propose
from pipeline.learning.training import Limits, Trained, train
from pipeline.protocol.task import Training


@dataclass(frozen=True, kw_only=True)
class Pilot:
    """What came of it."""

    #: The task's first model: as given, its batch norm's statistics set from the pilot's data.
    model: Model
    proposal: Proposal
    trained: Trained
    #: How many of the coordinates are statistics.
    statistics: int


def run_pilot(
    model: Model, dataset: Dataset, training: Training, limits: Limits, *, device: torch.device, seed: int | None = None
) -> Pilot:
    """Trains once as a miner would, from statistics that fit the data. Raises as `train` and `propose` do."""
    module = model.module()
    statistics = statistics_of(module)
    if statistics.spans:
        calibrate(module, dataset.training)
    first = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    trained = train(module, dataset, training, limits, device=device, seed=seed)
    among = statistics.mask(len(trained.delta))
    return Pilot(
        model=Model(architecture=model.architecture, state=first),
        proposal=propose(trained.delta, among),
        trained=trained,
        statistics=int(among.sum()),
    )
