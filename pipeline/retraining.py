"""A local training: a task's model trained on a miner's data once more, for what it tells. No weight of it outlives it or is sent.

It needs no submission, so nothing of the protocol is spent: no sum, no mask, no privacy budget. A process that does many keeps
the data sets that it opened, as long as no file of theirs has changed. Between two epochs it keeps a checkpoint, and gives way
to a round that waits for its worker.
"""

import os
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import FleetError
from pipeline.stages import fetch, train
from pipeline.stages.contract import Job

if TYPE_CHECKING:
    from pipeline.learning.data.datasets import Dataset
    from pipeline.learning.training import Trained
    from pipeline.protocol.task import Architecture

#: An epoch's end is worth a checkpoint this long after the last one: what a kill costs, at most, beside the epoch itself. One after
#: every epoch would take longer than a small network's epoch.
CHECKPOINT_SECONDS = 5.0
#: Data sets that a process keeps open; their samples are mapped from disk.
MOST_OPEN = 16


class OpenDatasets:
    """Data sets that this process has checked, until a file of theirs changes."""

    def __init__(self) -> None:
        self._open: OrderedDict[tuple[str, ...], tuple[frozenset[Any], Dataset]] = OrderedDict()

    def open(self, job: Job, architecture: "Architecture") -> "Dataset":
        """The job's data set, as `open_dataset`. Raises what that raises."""
        from pipeline.learning.data.datasets import open_dataset

        folder = job.identity.data / job.task.dataset
        key = (str(folder), architecture.name, repr(sorted(architecture.kwargs.items())))
        stamp = _stamp(folder)
        known = self._open.get(key)
        if known is not None and known[0] == stamp:
            self._open.move_to_end(key)
            return known[1]
        dataset = open_dataset(
            job.identity.data,
            job.task.dataset,
            job.settings.cache,
            architecture=architecture,
            validation_share=job.settings.validation_share,
        )
        self._open[key] = (stamp, dataset)
        if len(self._open) > MOST_OPEN:
            self._open.popitem(last=False)
        return dataset


class GaveWay(FleetError):
    """A round waits for this worker: the training stopped after an epoch, and its checkpoint is noted."""


def retrain(
    job: Job, datasets: OpenDatasets, gives_way: Callable[[], bool] = lambda: False, alone: str | None = None
) -> Mapping[str, Any]:
    """Fetches the model unless the store holds it, trains (from its checkpoint on, if there is one), and returns the figures of
    `train` with dataset and samples.

    `gives_way`, asked after every epoch: whether to stop there. `alone`: why it is not trained in a stack. Notes `checkpoint`. Raises GaveWay; Retryable, Rejected,
    Misconfigured or Corrupt as the stages do; and what the job's `report` and `note` raise.
    """
    job = replace(job, inputs={**job.inputs, "model": fetch.fetch_model(job.task, job.artifacts, job.settings)})
    model = train.read(job)
    dataset = datasets.open(job, model.architecture)
    kept = train.KeptCheckpoint(job)
    between = BetweenEpochs(gives_way)
    trained = train.train_on(
        job, model.module(), dataset, resume=kept.load(), save=lambda make: between(lambda: kept.save(make()))
    )
    return figures(job, trained, dataset, together=1, alone=alone)


class BetweenEpochs:
    """What happens after an epoch: a checkpoint, where one is due; and the end, where a round waits."""

    def __init__(self, gives_way: Callable[[], bool]) -> None:
        self._gives_way = gives_way
        self._last = time.monotonic()

    def __call__(self, keep: Callable[[], None]) -> None:
        """`keep` keeps a checkpoint. Raises GaveWay, and what `keep` raises."""
        stops = self._gives_way()
        if stops or time.monotonic() - self._last >= CHECKPOINT_SECONDS:
            keep()
            self._last = time.monotonic()
        if stops:
            raise GaveWay("a round waits for this worker")


def figures(
    job: Job, trained: "Trained", dataset: "Dataset", *, together: int, alone: str | None = None
) -> Mapping[str, Any]:
    """What a local training tells: `train`'s figures with dataset, samples, together (trainings in its stack) and, of one alone, why."""
    told = {"dataset": dataset.digest, "samples": len(dataset.training), "together": together, "alone": alone}
    return {**train.figures(job, trained), **told}


def _stamp(folder: Path) -> frozenset[Any]:
    """Every file's path, size and time of change: another stamp, another data set."""
    found = set()
    for place, _folders, names in os.walk(folder):
        for name in names:
            path = os.path.join(place, name)
            stat = os.stat(path)
            found.add((path, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))
    return frozenset(found)
