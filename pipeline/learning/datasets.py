"""An operator's data set, ready for training: checked once, normalised, memory-mapped, held back in part.

The ready form lies in a local cache folder, `<cache>/datasets/<digest>/`: x.npy float32 [n, ...], y.npy int64 [n], held.npy
bool [n]. It never enters the artifact store: patients' data stay on their host.
"""

import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Misconfigured
from pipeline.learning.numpy_folder import Folder, read_folder, read_sample

#: Changes when the ready form does, so that an older cache is not taken for it.
_FORM = b"flfleet data set 1"


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """A data set in its ready form; arrays are memory-mapped and read-only."""

    #: 64 hex digits over names, labels, contents and normalisation.
    digest: str
    #: float32 [n, ...].
    x: NDArray[np.float32]
    #: int64 [n], 0 .. classes - 1.
    y: NDArray[np.int64]
    #: bool [n]: held back from training.
    held: NDArray[np.bool_]
    classes: int

    @property
    def training(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The part to train on."""
        return self.x[~self.held], self.y[~self.held]

    @property
    def validation(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The part held back."""
        return self.x[self.held], self.y[self.held]


def open_dataset(folder: Path, cache: Path, validation_share: float) -> DataSet:
    """Reads the folder `<data>/<dataset>`, making its ready form if it is not in the cache.

    Raises Misconfigured with the file's name and what is wrong with it.
    """
    described = read_folder(folder)
    share = validation_share if described.validation_share is None else described.validation_share
    digest = _digest(described, share)
    ready = cache / "datasets" / digest
    if not ready.exists():
        _make(ready, described, share)
    x, y, held = (np.load(ready / name, mmap_mode="r", allow_pickle=False) for name in ("x.npy", "y.npy", "held.npy"))
    return DataSet(digest=digest, x=x, y=y, held=held, classes=described.classes)


def _digest(folder: Folder, share: float) -> str:
    total = hashlib.sha256(_FORM + repr((share, folder.mean, folder.std, folder.classes)).encode())
    for name, label in folder.labels.items():
        with folder.path(name).open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{name}\0{label}\0{content}\n".encode())
    return total.hexdigest()


def _make(ready: Path, folder: Folder, share: float) -> None:
    """Writes the ready form beside its place and renames it there; whoever comes second finds it made."""
    ready.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=ready.parent, prefix=".partial-"))
    try:
        names = list(folder.labels)
        first = read_sample(folder, names[0], None)
        x = np.lib.format.open_memmap(partial / "x.npy", mode="w+", dtype=np.float32, shape=(len(names), *first.shape))
        for index, name in enumerate(names):
            x[index] = read_sample(folder, name, first.shape)
        x.flush()
        np.save(partial / "y.npy", np.array(list(folder.labels.values()), dtype=np.int64))
        np.save(partial / "held.npy", np.array([_is_held(name, share) for name in names], dtype=np.bool_))
        os.replace(partial, ready)
    except OSError:
        if not ready.exists():
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _is_held(name: str, share: float) -> bool:
    """By the name alone, so that a sample stays on its side when others come."""
    lot = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    return lot < share * 2**64


def check_classes(dataset: DataSet, classes: int, folder: Path) -> None:
    """Raises Misconfigured where the data have a class that the model does not know."""
    largest = int(dataset.y.max())
    if largest >= classes:
        raise Misconfigured(f"{folder}: labels go up to {largest}, the task's model has the classes 0 .. {classes - 1}")
