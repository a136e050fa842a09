"""What every reader of a data set gives, and what is done to its samples whatever they came from.

The data are the operator's, so whatever is wrong with them is told (`faults`) with the file's name and what to do.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Misconfigured
from pipeline.learning.data.description import Description
from pipeline.learning.data.faults import Faults

_CHANNEL_COUNTS = (1, 3, 4)


@dataclass(frozen=True, kw_only=True)
class SampleFiles(ABC):
    """A data set whose names and labels fit each other. Contents are not read yet."""

    folder: Path
    #: Distinct; the order is the same wherever the same files lie.
    names: Sequence[str]
    #: int64[n], in the names' order; -1 where a label is at fault.
    labels: NDArray[np.int64]
    #: Whom each sample belongs to, a patient for instance; None where it is not said.
    groups: Sequence[str] | None
    #: Where the labels stand, for people.
    labelled_by: Path

    @property
    def channels(self) -> str | None:
        """Where colour images have theirs, "first" or "last", if the reader knows; else dataset.toml or the shape tells."""
        return None

    @abstractmethod
    def stored(self, faults: Faults) -> Iterator[tuple[Path, NDArray[Any]]]:
        """Every sample in order as its file has it, with the file; one that cannot be read is told and left out."""

    @abstractmethod
    def content_hashes(self) -> Iterator[str]:
        """What changes when a sample does: SHA-256 in hex, one a file. Raises Misconfigured."""


def check_classes(files: SampleFiles, classes: int, whose: str, faults: Faults) -> None:
    """Tells every label that is not below `classes`."""
    for row in np.flatnonzero(files.labels >= classes).tolist():
        faults.tell(
            f"{files.labelled_by}: {files.names[row]!r} is of class {files.labels[row]}, but {whose} has the classes "
            f"0 to {classes - 1}; mend the label, or leave the sample out"
        )


def digest(files: SampleFiles, description: Description) -> str:
    """SHA-256 in hex over names, labels, groups, contents and what the description does to them."""
    total = hashlib.sha256(b"flfleet data set 2\n")
    total.update(msgspec.json.encode(description.prepares()))
    for content in files.content_hashes():
        total.update(content.encode() + b"\n")
    groups: Sequence[str | None] = files.groups or [None] * len(files.names)
    for name, label, group in zip(files.names, files.labels.tolist(), groups, strict=True):
        total.update(json.dumps([name, label, group]).encode() + b"\n")
    return total.hexdigest()


def file_hash(path: Path) -> str:
    """SHA-256 of a file in hex. Raises Misconfigured."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise Misconfigured(f"{path} cannot be read: {error}; see to its permissions") from None


#: Shape and dtype of a stored sample.
Kind = tuple[tuple[int, ...], np.dtype[Any]]


def read_samples(files: SampleFiles, description: Description, faults: Faults) -> Iterator[NDArray[np.float32]]:
    """Every sample in order, float32, images as [channels, height, width], normalised.

    Told and left out: unreadable, pickled, no numbers, a shape or dtype that differs, NaN or infinite values.
    """
    #: The files of each kind; all is well where there is one.
    kinds: dict[Kind, list[Path]] = {}
    #: Kinds that cannot be laid out as dataset.toml says: told of the first file, true of all.
    unfit: set[Kind] = set()
    for path, stored in files.stored(faults):
        kind = (stored.shape, stored.dtype)
        kinds.setdefault(kind, []).append(path)
        if faults.at_once and len(kinds[kind]) == 1:
            _tell_odd(kinds, description, faults)
        sample: NDArray[Any] = stored
        if kind not in unfit:
            try:
                laid_out = _channels_first(stored, files.channels or description.channels, path)
                sample = _normalised(laid_out, description, path)
            except Misconfigured as error:
                unfit.add(kind)
                faults.tell(str(error))
        if not np.isfinite(sample).all():
            faults.tell(f"{path} holds NaN or infinite values; mend or remove it (and its label)")
        elif kind not in unfit:
            yield sample
    _tell_odd(kinds, description, faults)


def _tell_odd(kinds: dict[Kind, list[Path]], description: Description, faults: Faults) -> None:
    """Tells every file that is not of the shape that dataset.toml says, else not of the kind that most have (the first met, of equals)."""
    shape = None if description.shape is None else tuple(description.shape)
    usual = max(kinds, key=lambda kind: len(kinds[kind]), default=None)
    for kind, paths in kinds.items():
        for path in paths:
            if shape not in (None, kind[0]):
                faults.tell(
                    f"{path} has the shape {kind[0]}, but dataset.toml says {shape}; scale it, or mend dataset.toml"
                )
            elif usual not in (None, kind):
                faults.tell(
                    f"{path} has the shape {kind[0]} of {kind[1]}, but {kinds[usual][0].name} has {usual[0]} of {usual[1]}; "
                    "all samples of a data set have one shape and type: convert it, or remove it (and its label)"
                )


def _channels_first(stored: NDArray[Any], channels: str | None, path: Path) -> NDArray[Any]:
    """Grey images get a channel; of colour images the channels go to the front."""
    if stored.ndim == 2:
        return stored[np.newaxis]
    if stored.ndim != 3:
        return stored
    if channels is None:
        first, last = stored.shape[0] in _CHANNEL_COUNTS, stored.shape[2] in _CHANNEL_COUNTS
        if first == last:
            raise Misconfigured(
                f'{path} has the shape {stored.shape}: say in dataset.toml where its channels are, channels = "first" or "last"'
            )
        channels = "first" if first else "last"
    return stored if channels == "first" else np.moveaxis(stored, 2, 0)


def _normalised(sample: NDArray[Any], description: Description, path: Path) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # becomes infinite, which is reported with the file's name
        values = sample.astype(np.float32)
    if sample.dtype == np.uint8:
        values /= np.float32(255)
    if (description.mean, description.std) == (0.0, 1.0):
        return values
    return (values - _per_channel(description.mean, values, path)) / _per_channel(description.std, values, path)


def _per_channel(value: float | list[float], sample: NDArray[np.float32], path: Path) -> NDArray[np.float32]:
    numbers = np.atleast_1d(np.asarray(value, dtype=np.float32))
    if len(numbers) not in (1, sample.shape[0]):
        raise Misconfigured(
            f"{path} has {sample.shape[0]} channel(s), but dataset.toml normalises {len(numbers)}; mend mean and std there"
        )
    return numbers.reshape(-1, *[1] * (sample.ndim - 1))
