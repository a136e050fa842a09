"""The field's layout of labelled samples, read and checked: `images/<name>.npy` and `labels.json` {"name": class}.

The data are the operator's, so whatever is wrong with them is Misconfigured, with the file's name and what to do.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Malformed, Misconfigured
from pipeline.learning.dataset_description import Description
from pipeline.protocol.strict import read_json

LAYOUT = 'images/<name>.npy and labels.json {"<name>": class}'
_CHANNEL_COUNTS = (1, 3, 4)


@dataclass(frozen=True, kw_only=True)
class SampleFiles:
    """A folder whose names and labels fit each other. Contents are not read yet."""

    folder: Path
    #: Ascending.
    names: Sequence[str]
    #: int64[n], in the names' order.
    labels: NDArray[np.int64]

    def path(self, name: str) -> Path:
        """The file of a sample."""
        return self.folder / "images" / f"{name}.npy"


def list_samples(folder: Path) -> SampleFiles:
    """Reads names and labels. Raises Misconfigured: folder, images or labels missing, a file without a label or the reverse."""
    if not folder.is_dir():
        raise Misconfigured(f"data set {folder.name!r}: no folder {folder}; it should hold {LAYOUT}")
    images = folder / "images"
    if not images.is_dir():
        raise Misconfigured(f"{images} is missing; a data set holds {LAYOUT}")
    labels = _read_labels(folder / "labels.json")
    names = sorted(path.name.removesuffix(".npy") for path in images.glob("*.npy") if not path.name.startswith("."))
    if not names:
        raise Misconfigured(f"{images} is empty: it holds no *.npy")
    if unlabelled := [name for name in names if name not in labels]:
        raise Misconfigured(f"{folder / 'labels.json'} has no label for {_listed(unlabelled)}")
    if len(labels) > len(names):
        present = set(names)
        raise Misconfigured(f"{images} has no file for the label(s) {_listed([x for x in labels if x not in present])}")
    return SampleFiles(folder=folder, names=names, labels=np.array([labels[name] for name in names], dtype=np.int64))


def check_classes(files: SampleFiles, classes: int, whose: str) -> None:
    """Raises Misconfigured unless every label is below `classes`."""
    if (outside := np.flatnonzero(files.labels >= classes)).size:
        name, label = files.names[outside[0]], files.labels[outside[0]]
        more = f" (and {outside.size - 1} more)" if outside.size > 1 else ""
        raise Misconfigured(
            f"{files.folder / 'labels.json'}: {name!r} is of class {label}{more}, but {whose} has the classes 0 to {classes - 1}"
        )


def digest(files: SampleFiles, description: Description) -> str:
    """SHA-256 in hex over names, labels, contents and what the description does to them."""
    total = hashlib.sha256(b"flfleet data set 1\n")
    total.update(msgspec.json.encode([description.channels, description.mean, description.std]))
    for name, label in zip(files.names, files.labels.tolist(), strict=True):
        try:
            content = hashlib.sha256(files.path(name).read_bytes()).hexdigest()
        except OSError as error:
            raise Misconfigured(f"{files.path(name)} cannot be read: {error}") from None
        total.update(json.dumps([name, label, content]).encode() + b"\n")
    return total.hexdigest()


def read_samples(files: SampleFiles, description: Description) -> Iterator[NDArray[np.float32]]:
    """Every sample in order, float32, images as [channels, height, width], normalised.

    Raises Misconfigured: unreadable, pickled, no numbers, a shape or dtype that differs, NaN or infinite values.
    """
    first: NDArray[Any] | None = None
    for name in files.names:
        path = files.path(name)
        stored = _load(path)
        if first is None:
            first = stored
            _check_described(path, stored.shape, description)
        if stored.shape != first.shape or stored.dtype != first.dtype:
            raise Misconfigured(
                f"{path} has the shape {stored.shape} of {stored.dtype}, but {files.path(files.names[0]).name} has "
                f"{first.shape} of {first.dtype}; all samples of a data set have one shape"
            )
        sample = _normalised(_channels_first(stored, description, path), description, path)
        if not np.isfinite(sample).all():
            raise Misconfigured(f"{path} holds NaN or infinite values; mend or remove it (and its label)")
        yield sample


def _read_labels(path: Path) -> dict[str, int]:
    try:
        labels = read_json(path.read_bytes())
    except FileNotFoundError:
        raise Misconfigured(
            f'{path} is missing; it should hold {{"<name>": class}} for every file of images/'
        ) from None
    except OSError as error:
        raise Misconfigured(f"{path} cannot be read: {error}") from None
    except Malformed as error:
        raise Misconfigured(f"{path} is invalid: {error}") from None
    if not isinstance(labels, dict):
        raise Misconfigured(f'{path} is invalid: expected one object {{"<name>": class}}')
    for name, label in labels.items():
        if type(label) is not int or label < 0:
            raise Misconfigured(f"{path} is invalid: {name!r} has the label {label!r}, expected an integer from 0 on")
    return labels


def _load(path: Path) -> NDArray[Any]:
    try:
        with path.open("rb") as file:
            array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise Misconfigured(f"{path} is no readable .npy array (pickled ones are not opened): {error}") from None
    if array.dtype.kind not in "fiub" or array.ndim == 0 or array.size == 0:
        raise Misconfigured(f"{path} holds {array.dtype} of shape {array.shape}, expected an array of real numbers")
    return array


def _check_described(path: Path, shape: tuple[int, ...], description: Description) -> None:
    if description.shape is not None and tuple(description.shape) != shape:
        raise Misconfigured(f"{path} has the shape {shape}, but dataset.toml says {tuple(description.shape)}")


def _channels_first(stored: NDArray[Any], description: Description, path: Path) -> NDArray[Any]:
    """Grey images get a channel; of colour images the channels go to the front."""
    if stored.ndim == 2:
        return stored[np.newaxis]
    if stored.ndim != 3:
        return stored
    channels = description.channels
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


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
