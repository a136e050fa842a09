"""The round's new model, and how good it is on the aggregator's own data (docs/protocol.md, section 7)."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.learning.update import apply_update
from pipeline.protocol.coordinates import Coordinates
from pipeline.protocol.encodings import bitmap_from_indices
from pipeline.protocol.file_bytes import Bytes, array_of
from pipeline.protocol.task import Task


def new_model(
    parent: Path, task: Task, sums: NDArray[np.int64], support: NDArray[np.int64] | None, participants: int
) -> bytes:
    """The file of `model_pieces` in memory. `sums`: X, int64[k]. `support`: ascending indices, int64[k]; None: all d."""
    bitmap = None if support is None else bitmap_from_indices(support, task.dimension)
    coordinates = Coordinates.of(task.dimension, bitmap)
    return b"".join(model_pieces(parent, task, sums.astype("<i8").tobytes(), coordinates, participants))


def model_pieces(parent: Path, task: Task, sums: Bytes, coordinates: Coordinates, participants: int) -> Iterator[bytes]:
    """w_old minus the mean update, as a file whose bytes everyone computes alike, piece by piece.

    `sums`: X for the k coordinates, int64 little-endian. Raises Rejected for a bad parent, ValueError where k does not fit.
    A parent that is safetensors stays in its file; one in torch's own format is read into memory.
    """
    # torch, and only where a model is read.
    import torch

    from pipeline.learning.models.checkpoints import read_model
    from pipeline.learning.models.model_file import beginning, bytes_of, parts_of

    if len(sums) != 8 * coordinates.size:
        raise ValueError(f"{len(sums) // 8} sums for {coordinates.size} coordinates")
    old = read_model(parent, task.architecture, dimension=task.dimension, max_dimension=task.dimension)
    yield beginning(old.state, old.architecture)
    position, first = 0, 0  # among the d values, and among the k coordinates
    for tensor in old.state.values():
        for part in parts_of(tensor):
            if not part.is_floating_point():
                yield bytes_of(part)
                continue
            local = coordinates.within(position, position + len(part))
            X = array_of(sums, "<i8", first, len(local))
            new = apply_update(part.float().numpy(), X, local, participants, task.quantization.scale)
            yield bytes_of(torch.from_numpy(new).to(tensor.dtype))
            position, first = position + len(part), first + len(local)


def evaluate(model: Path, task: Task, validation_data: Path, cache: Path, *, device: str = "cpu") -> float:
    """Accuracy, 0 .. 1, on `<validation_data>/<dataset>`. Raises Misconfigured where that folder is not as it should be."""
    from pipeline.learning.data.datasets import open_dataset
    from pipeline.learning.devices import choose_device
    from pipeline.learning.evaluation import accuracy
    from pipeline.learning.models.checkpoints import read_model

    read = read_model(model, task.architecture, dimension=task.dimension, max_dimension=task.dimension)
    data = open_dataset(validation_data, task.dataset, cache, architecture=read.architecture, validation_share=0.0)
    return accuracy(read.module(), data.everything, choose_device(device))


def held_back_accuracy(
    model: Path, task: Task, data: Path, cache: Path, validation_share: float, *, device: str = "cpu"
) -> float | None:
    """Accuracy, 0 .. 1, on the samples of a miner that its training never saw; None where it holds none back.

    Raises Misconfigured where the folder `<data>/<dataset>` is not as it should be.
    """
    from pipeline.learning.data.datasets import open_dataset
    from pipeline.learning.devices import choose_device
    from pipeline.learning.evaluation import accuracy
    from pipeline.learning.models.checkpoints import read_model

    read = read_model(model, task.architecture, dimension=task.dimension, max_dimension=task.dimension)
    opened = open_dataset(data, task.dataset, cache, architecture=read.architecture, validation_share=validation_share)
    if not len(opened.held_back):
        return None
    return accuracy(read.module(), opened.held_back, choose_device(device))
