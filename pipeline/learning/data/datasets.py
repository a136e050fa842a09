"""An identity's data set, ready for training: checked, normalised once into the local cache, memory-mapped, split.

    <data>/<dataset>/, see `readers`, and [dataset.toml]            the operator's, read only
    <cache>/datasets/<digest>/x.npy, y.npy                          ours; may be deleted at any time

Patients' data stay on this host: nothing here goes into the artifact store.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Misconfigured, Retryable
from pipeline.learning.data.description import Description, read_description
from pipeline.learning.data.faults import EveryFault, Faults
from pipeline.learning.data.readers import list_samples
from pipeline.learning.data.sample_files import SampleFiles, check_classes, digest, read_samples
from pipeline.learning.models.catalogue import class_count, misfit
from pipeline.protocol.task import Architecture


@dataclass(frozen=True, kw_only=True)
class Samples:
    """A part of a data set."""

    #: float32[n, ...], the whole data set, memory-mapped.
    x: NDArray[np.float32]
    #: int64[n].
    y: NDArray[np.int64]
    #: int64[m]: which of the n samples belong to this part.
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, positions: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Copies of the samples at these positions of the part."""
        rows = self.rows[positions]
        return self.x[rows], self.y[rows]


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A checked data set."""

    #: Over names, labels and contents.
    digest: str
    everything: Samples
    training: Samples
    #: Held back from training; the same samples stay in it when others are added.
    held_back: Samples
    #: How many groups (patients) there are; None where the data do not say.
    groups: int | None = None
    #: The operator's word about it.
    description: Description = field(default_factory=Description)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample: [channels, height, width] for images."""
        return self.everything.x.shape[1:]

    @property
    def classes(self) -> int:
        """How many classes have a sample."""
        return len(np.unique(self.everything.y))


def open_dataset(
    data: Path, name: str, cache: Path, *, architecture: Architecture | None, validation_share: float
) -> Dataset:
    """Opens `<data>/<name>` for a network (None: to look at it). `dataset.toml`'s share of held-back samples wins over `validation_share`.

    Raises Misconfigured for whatever is wrong with the data or does not fit the network (`sample_files` has the list),
    Retryable where the cache cannot be written.
    """
    folder = data / name
    description, files = _listed(folder, Faults())
    if architecture is not None:
        check_classes(files, class_count(architecture), "the task's model", Faults())
    found = digest(files, description)
    x, y = _cached(files, description, cache / "datasets", found)
    if architecture is not None and (problem := misfit(architecture, x.shape[1:])):
        raise Misconfigured(f"data set {name!r} does not fit the task's model: {problem}")
    share = validation_share if description.validation_share is None else description.validation_share
    apart = held_back(files.groups or files.names, share)
    return Dataset(
        digest=found,
        everything=Samples(x=x, y=y, rows=np.arange(len(y))),
        training=Samples(x=x, y=y, rows=np.flatnonzero(~apart)),
        held_back=Samples(x=x, y=y, rows=np.flatnonzero(apart)),
        groups=None if files.groups is None else len(set(files.groups)),
        description=description,
    )


def every_fault(folder: Path) -> EveryFault:
    """All that is wrong with a data set for whatever model, by the readers that `open_dataset` stops at the first fault of.

    Reads every sample and keeps nothing.
    """
    faults = EveryFault()
    with faults.told():
        description, files = _listed(folder, faults)
        for _ in read_samples(files, description, faults):
            pass
    return faults


def _listed(folder: Path, faults: Faults) -> tuple[Description, SampleFiles]:
    description = read_description(folder, faults)
    files = list_samples(folder, description, faults)
    if description.class_count is not None:
        check_classes(files, description.class_count, "dataset.toml", faults)
    return description, files


def held_back(names: Sequence[str], share: float) -> NDArray[np.bool_]:
    """bool[n]: about `share` of the names, each by its own hash, so that adding files moves no other.

    A group's samples (a patient's) share its name, so that none is learnt from while another measures what was learnt.
    """
    limit = int(share * 2**64)
    words = (hashlib.sha256(b"flfleet held back\n" + name.encode()).digest()[:8] for name in names)
    return np.array([int.from_bytes(word, "big") < limit for word in words], dtype=np.bool_)


def _cached(
    files: SampleFiles, description: Description, folder: Path, found: str
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    ready = folder / found
    if not ready.is_dir():
        try:
            _write(files, description, folder, ready)
        except OSError as error:
            raise Retryable(f"cache of data sets {folder}: {error}") from error
    return _map(ready / "x.npy", len(files.names)), _map(ready / "y.npy", len(files.names))


def _write(files: SampleFiles, description: Description, folder: Path, ready: Path) -> None:
    """Writes beside the target and renames, so that several workers may do it at once."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=folder, prefix=".partial-"))
    try:
        x: NDArray[np.float32] | None = None
        for row, sample in enumerate(read_samples(files, description, Faults())):
            if x is None:
                shape = (len(files.names), *sample.shape)
                x = np.lib.format.open_memmap(partial / "x.npy", mode="w+", dtype=np.float32, shape=shape)
            x[row] = sample
        assert isinstance(x, np.memmap)
        x.flush()
        np.save(partial / "y.npy", files.labels)
        try:
            os.rename(partial, ready)
        except OSError:
            if not ready.is_dir():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _map(path: Path, count: int) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise Misconfigured(f"{path} is damaged; delete the folder {path.parent}, it is made again: {error}") from None
    if len(array) != count:
        raise Misconfigured(f"{path} is damaged; delete the folder {path.parent}, it is made again")
    return array
