"""What every reader of a data set gives, and what is done to its samples whatever they came from.

The data are the operator's, so whatever is wrong with them is Misconfigured, with the file's name and what to do.
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
from pipeline.learning.dataset_description import Description

_CHANNEL_COUNTS = (1, 3, 4)


@dataclass(frozen=True, kw_only=True)
class SampleFiles(ABC):
    """A data set whose names and labels fit each other. Contents are not read yet."""

    folder: Path
    #: Distinct; the order is the same wherever the same files lie.
    names: Sequence[str]
    #: int64[n], in the names' order.
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
    def stored(self) -> Iterator[tuple[Path, NDArray[Any]]]:
        """Every sample in order as its file has it, with the file. Raises Misconfigured, naming the file."""

    @abstractmethod
    def content_hashes(self) -> Iterator[str]:
        """What changes when a sample does: SHA-256 in hex, one a file. Raises Misconfigured."""


def check_classes(files: SampleFiles, classes: int, whose: str) -> None:
    """Raises Misconfigured unless every label is below `classes`."""
    if (outside := np.flatnonzero(files.labels >= classes)).size:
        name, label = files.names[outside[0]], files.labels[outside[0]]
        more = f" (and {outside.size - 1} more)" if outside.size > 1 else ""
        raise Misconfigured(
            f"{files.labelled_by}: {name!r} is of class {label}{more}, but {whose} has the classes 0 to {classes - 1}"
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
        raise Misconfigured(f"{path} cannot be read: {error}") from None


def read_samples(files: SampleFiles, description: Description) -> Iterator[NDArray[np.float32]]:
    """Every sample in order, float32, images as [channels, height, width], normalised.

    Raises Misconfigured: unreadable, pickled, no numbers, a shape or dtype that differs, NaN or infinite values.
    """
    first: tuple[Path, NDArray[Any]] | None = None
    for path, stored in files.stored():
        if first is None:
            first = path, stored
            _check_described(path, stored.shape, description)
        if stored.shape != first[1].shape or stored.dtype != first[1].dtype:
            raise Misconfigured(
                f"{path} has the shape {stored.shape} of {stored.dtype}, but {first[0].name} has "
                f"{first[1].shape} of {first[1].dtype}; all samples of a data set have one shape"
            )
        sample = _normalised(_channels_first(stored, files.channels or description.channels, path), description, path)
        if not np.isfinite(sample).all():
            raise Misconfigured(f"{path} holds NaN or infinite values; mend or remove it (and its label)")
        yield sample


def _check_described(path: Path, shape: tuple[int, ...], description: Description) -> None:
    if description.shape is not None and tuple(description.shape) != shape:
        raise Misconfigured(f"{path} has the shape {shape}, but dataset.toml says {tuple(description.shape)}")


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
        raise Misconfigured(f"{path} has {sample.shape[0]} channel(s), but dataset.toml normalises {len(numbers)}")
    return numbers.reshape(-1, *[1] * (sample.ndim - 1))
