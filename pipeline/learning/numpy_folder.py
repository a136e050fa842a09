"""The layout `images/<name>.npy` with `labels.json` {"name": class}, and an optional `dataset.toml`.

dataset.toml: `shape` (of a sample), `classes`, `mean` and `std` (applied after uint8 became 0 .. 1), `validation_share`.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Malformed, Misconfigured
from pipeline.protocol.strict import read_json


class _Description(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    shape: list[int] | None = None
    classes: int | None = None
    mean: float = 0.0
    std: float = 1.0
    validation_share: float | None = None


@dataclass(frozen=True, kw_only=True)
class Folder:
    """What a data set's folder says of itself; its samples are read one by one."""

    path_of_set: Path
    #: Sample names to classes, by name.
    labels: Mapping[str, int]
    classes: int
    shape: tuple[int, ...] | None
    mean: float
    std: float
    validation_share: float | None

    def path(self, name: str) -> Path:
        """A sample's file."""
        return self.path_of_set / "images" / f"{name}.npy"


def read_folder(path: Path) -> Folder:
    """Reads labels and description, and holds them against the files. Raises Misconfigured."""
    images = path / "images"
    if not path.is_dir():
        raise Misconfigured(f"{path}: no such data set; expected images/*.npy and labels.json there")
    if not images.is_dir():
        raise Misconfigured(f"{images}: the folder with the samples (*.npy) is missing")
    labels = _read_labels(path / "labels.json")
    files = {file.stem for file in images.glob("*.npy")}
    if not files:
        raise Misconfigured(f"{images}: holds no sample (*.npy)")
    _refuse(path, sorted(files - labels.keys()), "no label in labels.json")
    _refuse(path, sorted(labels.keys() - files), "a label, but no file in images/")
    described = _read_description(path / "dataset.toml")
    classes = described.classes or max(labels.values()) + 1
    if max(labels.values()) >= classes:
        raise Misconfigured(f"{path}: labels go up to {max(labels.values())}, dataset.toml says {classes} classes")
    return Folder(
        path_of_set=path,
        labels=labels,
        classes=classes,
        shape=tuple(described.shape) if described.shape else None,
        mean=described.mean,
        std=described.std,
        validation_share=described.validation_share,
    )


def read_sample(folder: Folder, name: str, shape: tuple[int, ...] | None) -> NDArray[np.float32]:
    """One sample, normalised: float32 of `shape` (None: whatever the first one has). Raises Misconfigured."""
    path = folder.path(name)
    try:
        raw = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise Misconfigured(f"{path}: is no numpy array: {error}") from None
    if not (np.issubdtype(raw.dtype, np.integer) or np.issubdtype(raw.dtype, np.floating)):
        raise Misconfigured(f"{path}: holds {raw.dtype}, expected numbers")
    wanted = folder.shape or shape
    if wanted is not None and raw.shape != wanted[-raw.ndim :]:
        raise Misconfigured(f"{path}: has shape {raw.shape}, expected {wanted} as the others")
    sample = raw.astype(np.float32) / (np.float32(255) if raw.dtype == np.uint8 else np.float32(1))
    if not np.isfinite(sample).all():
        raise Misconfigured(f"{path}: holds NaN or infinity")
    normalised: NDArray[np.float32] = (sample - np.float32(folder.mean)) / np.float32(folder.std)
    # A grey image without its channel gets one.
    return normalised[np.newaxis] if normalised.ndim == 2 else normalised


def _read_labels(path: Path) -> Mapping[str, int]:
    try:
        content = read_json(path.read_bytes())
    except FileNotFoundError:
        raise Misconfigured(f'{path}: is missing; expected {{"sample name": class, ...}}') from None
    except (OSError, Malformed) as error:
        raise Misconfigured(f"{path}: {error}") from None
    if not isinstance(content, dict) or not content:
        raise Misconfigured(f'{path}: expected {{"sample name": class, ...}}')
    for name, label in content.items():
        if isinstance(label, bool) or not isinstance(label, int) or label < 0:
            raise Misconfigured(f"{path}: the class of {name!r} must be a whole number from 0, got {label!r}")
        if "/" in name or name.startswith("."):
            raise Misconfigured(f"{path}: {name!r} is no plain file name")
    return dict(sorted(content.items()))


def _read_description(path: Path) -> _Description:
    try:
        found = msgspec.convert(tomllib.loads(path.read_text()), _Description)
    except FileNotFoundError:
        return _Description()
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise Misconfigured(f"{path}: {error}") from None
    share = found.validation_share
    if (
        found.std <= 0
        or (share is not None and not 0 <= share < 1)
        or (found.classes is not None and found.classes < 1)
    ):
        raise Misconfigured(f"{path}: std must be above 0, validation_share from 0 to below 1, classes at least 1")
    return found


def _refuse(path: Path, names: list[str], what: str) -> None:
    if names:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        verb = "has" if len(names) == 1 else "have"
        raise Misconfigured(f"{path}: {', '.join(names[:3])}{more} {verb} {what}")
