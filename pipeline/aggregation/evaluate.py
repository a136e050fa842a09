"""The round's new model, and how good it is on the aggregator's own data (PROTOCOL.md section 7)."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.learning.update import apply_update
from pipeline.protocol.task import Task


def new_model(
    parent: Path, task: Task, sums: NDArray[np.int64], support: NDArray[np.int64] | None, participants: int
) -> bytes:
    """w_old minus the mean update, as a file whose bytes everyone computes alike.

    `sums`: X, int64[k]. `support`: ascending indices, int64[k]; None: all d. Raises Rejected for a bad parent.
    """
    # torch, and only where a model is read.
    from pipeline.learning.checkpoints import flatten, read_model, with_flat
    from pipeline.learning.model_file import write_model

    old = read_model(parent, task.architecture, dimension=task.dimension, max_dimension=task.dimension)
    w_new = apply_update(flatten(old.state), sums, support, participants, task.quantization.scale)
    return write_model(with_flat(old.state, w_new), old.architecture)


def evaluate(model: Path, task: Task, validation_data: Path, cache: Path, *, device: str = "cpu") -> float:
    """Accuracy, 0 .. 1, on `<validation_data>/<dataset>`. Raises Misconfigured where that folder is not as it should be."""
    from pipeline.learning.checkpoints import read_model
    from pipeline.learning.datasets import open_dataset
    from pipeline.learning.devices import choose_device
    from pipeline.learning.evaluation import accuracy

    read = read_model(model, task.architecture, dimension=task.dimension, max_dimension=task.dimension)
    data = open_dataset(validation_data, task.dataset, cache, architecture=read.architecture, validation_share=0.0)
    return accuracy(read.module(), data.everything, choose_device(device))


def held_back_accuracy(
    model: Path, task: Task, data: Path, cache: Path, validation_share: float, *, device: str = "cpu"
) -> float | None:
    """Accuracy, 0 .. 1, on the samples of a miner that its training never saw; None where it holds none back.

    Raises Misconfigured where the folder `<data>/<dataset>` is not as it should be.
    """
    from pipeline.learning.checkpoints import read_model
    from pipeline.learning.datasets import open_dataset
    from pipeline.learning.devices import choose_device
    from pipeline.learning.evaluation import accuracy

    read = read_model(model, task.architecture, dimension=task.dimension, max_dimension=task.dimension)
    opened = open_dataset(data, task.dataset, cache, architecture=read.architecture, validation_share=validation_share)
    if not len(opened.held_back):
        return None
    return accuracy(read.module(), opened.held_back, choose_device(device))
