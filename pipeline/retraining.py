"""A local training: a task's model trained on a miner's data once more, for what it tells. No weight of it is kept or sent.

It needs no submission, so nothing of the protocol is spent: no sum, no mask, no privacy budget. A process that does many keeps
the data sets that it opened, as long as no file of theirs has changed.
"""

import os
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from pipeline.stages import fetch, train
from pipeline.stages.contract import Job
from pipeline.stores.artifacts import ArtifactStore

if TYPE_CHECKING:
    from pipeline.learning.datasets import Dataset
    from pipeline.protocol.task import Architecture

#: Data sets that a process keeps open; their samples are mapped from disk.
MOST_OPEN = 16


class OpenDatasets:
    """Data sets that this process has checked, until a file of theirs changes."""

    def __init__(self) -> None:
        self._open: OrderedDict[tuple[str, ...], tuple[frozenset[Any], Dataset]] = OrderedDict()

    def open(self, job: Job, architecture: "Architecture") -> "Dataset":
        """The job's data set, as `open_dataset`. Raises what that raises."""
        from pipeline.learning.datasets import open_dataset

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


def retrain(job: Job, datasets: OpenDatasets) -> Mapping[str, Any]:
    """Fetches the model unless the store holds it, trains, and returns the figures of `train` with dataset and samples.

    Raises Retryable, Rejected, Misconfigured or Corrupt as these stages do, and what `job.report` raises.
    """
    job = replace(job, inputs={"model": fetch.fetch_model(job.task, job.artifacts, job.settings)})
    model = train.read(job)
    dataset = datasets.open(job, model.architecture)
    kept_nowhere = _Nowhere(job.settings.artifacts, job.settings.cache / "scratch")
    output = train.train_on(replace(job, artifacts=kept_nowhere), model, dataset)
    return {**output.figures, "dataset": dataset.digest, "samples": len(dataset.training)}


class _Nowhere(ArtifactStore):
    """Takes everything and keeps nothing: neither delta nor checkpoint of a local training is for anybody."""

    def put(self, data: bytes, *, durable: bool = False) -> str:
        return ""

    def put_array(self, array: NDArray[Any], *, durable: bool = False) -> str:
        return ""


def _stamp(folder: Path) -> frozenset[Any]:
    """Every file's path, size and time of change: another stamp, another data set."""
    found = set()
    for place, _folders, names in os.walk(folder):
        for name in names:
            path = os.path.join(place, name)
            stat = os.stat(path)
            found.add((path, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))
    return frozenset(found)
