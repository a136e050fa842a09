"""Data sets with a file for every sample: `.npy`, PNG, JPEG or DICOM.

    images/<name>.<ending> + labels.json {"<name>": class}      [groups.json {"<name>": "patient"}]
    <class>/<name>.<ending>, a folder for every class           [groups.json {"<class>/<name>": "patient"}]

A class's folder is its number, or its name in `class_names` of dataset.toml: numbers that followed from the folders alone would
differ between two hospitals of which one lacks a class.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Malformed, Misconfigured
from pipeline.learning.data.description import FILE_NAME, Description
from pipeline.learning.data.dicom_file import load_dicom, patient_of
from pipeline.learning.data.faults import Faults
from pipeline.learning.data.image_file import load_image
from pipeline.learning.data.sample_files import SampleFiles, file_hash
from pipeline.protocol.strict import read_json

LAYOUTS = (
    'images/<name>.npy (or .png, .jpg, .dcm) and labels.json {"<name>": class}, a folder of such files for every class, '
    "or one table (.csv, .parquet)"
)


def load_npy(path: Path, _description: Description) -> NDArray[Any]:
    """A numpy array as it was saved. Raises Misconfigured."""
    try:
        with path.open("rb") as file:
            array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise Misconfigured(
            f"{path} is no readable .npy array (pickled ones are not opened): {error}; save it anew, or remove it (and its label)"
        ) from None
    if array.dtype.kind not in "fiub" or array.ndim == 0 or array.size == 0:
        raise Misconfigured(
            f"{path} holds {array.dtype} of shape {array.shape}, expected an array of real numbers; convert it, or remove "
            "it (and its label)"
        )
    return array


Load = Callable[[Path, Description], NDArray[Any]]
#: File endings, lower case, to their readers.
FORMATS: Mapping[str, Load] = {
    ".npy": load_npy,
    ".png": load_image,
    ".jpg": load_image,
    ".jpeg": load_image,
    ".dcm": load_dicom,
}


@dataclass(frozen=True, kw_only=True)
class FilePerSample(SampleFiles):
    """Names are paths below `images/` or below the data set's folder, without the ending."""

    paths: Sequence[Path]
    description: Description

    @property
    def channels(self) -> str | None:
        """Images and scans have theirs last; an array may have them anywhere."""
        return None if any(path.suffix.lower() == ".npy" for path in self.paths) else "last"

    def stored(self, faults: Faults) -> Iterator[tuple[Path, NDArray[Any]]]:
        """By each file's ending."""
        for path in self.paths:
            array: NDArray[Any] | None = None
            with faults.told():
                array = FORMATS[path.suffix.lower()](path, self.description)
            if array is not None:
                yield path, array

    def content_hashes(self) -> Iterator[str]:
        """Of every file."""
        return map(file_hash, self.paths)


def has_class_folders(folder: Path) -> bool:
    """Whether the samples lie in a folder for each class."""
    return not (folder / "images").is_dir() and bool(_class_folders(folder))


def list_labelled(folder: Path, description: Description, faults: Faults) -> FilePerSample:
    """The layout with `labels.json`. Told: a file without a label or the reverse. Raises Misconfigured: no images at all."""
    images, labels_path = folder / "images", folder / "labels.json"
    labels: dict[str, int] | None = None
    with faults.told():
        labels = _read_labels(labels_path, faults)
    if not images.is_dir():
        raise Misconfigured(f"{images} is missing; a data set holds {LAYOUTS}")
    files = _by_name(images, _samples_in(images), faults)
    if not files:
        raise Misconfigured(
            f"{images} is empty: it holds no {', '.join(f'*{ending}' for ending in FORMATS)}; put the samples there"
        )
    if labels is not None:
        for name, path in files.items():
            if name not in labels:
                faults.tell(f"{labels_path} has no label for {name!r} ({path.name}); add it, or remove the file")
        for name in labels:
            if name not in files:
                faults.tell(
                    f"{images} has no file for the label {name!r}; add it, or remove the label from labels.json"
                )
    names, known = sorted(files), labels or {}
    return _made(
        folder,
        names,
        [known.get(name, -1) for name in names],
        [files[name] for name in names],
        labels_path,
        description,
        faults,
    )


def list_class_folders(folder: Path, description: Description, faults: Faults) -> FilePerSample:
    """The layout with a folder for every class. Told: a folder that names no class, two files of one name."""
    numbers = {name: number for number, name in enumerate(description.class_names or [])}
    files: dict[str, Path] = {}
    labels: dict[str, int] = {}
    for part in _class_folders(folder):
        if part.name not in numbers and (description.class_names is not None or not part.name.isdecimal()):
            faults.tell(
                f"{part}: its name is no class; name all classes of the task in {folder / FILE_NAME}, in the order that "
                f'its publisher gives them: class_names = ["{part.name}", ...]'
            )
        for name, path in _by_name(folder, _samples_in(part), faults, prefix=f"{part.name}/").items():
            files[name], labels[name] = path, numbers.get(part.name, int(part.name) if part.name.isdecimal() else -1)
    names = sorted(files)
    return _made(
        folder, names, [labels[name] for name in names], [files[name] for name in names], folder, description, faults
    )


def _made(
    folder: Path,
    names: list[str],
    labels: list[int],
    paths: list[Path],
    labelled_by: Path,
    description: Description,
    faults: Faults,
) -> FilePerSample:
    return FilePerSample(
        folder=folder,
        names=names,
        labels=np.array(labels, dtype=np.int64),
        groups=_groups(folder / "groups.json", names, paths, faults),
        labelled_by=labelled_by,
        paths=paths,
        description=description,
    )


def _groups(stated: Path, names: list[str], paths: list[Path], faults: Faults) -> list[str] | None:
    """By `groups.json`, else, of DICOM alone, the patients; a sample whose group is at fault is its own."""
    if stated.exists():
        known: dict[str, Any] | None = None
        with faults.told():
            known = _read_object(stated, '{"<name>": "group"}')
        if known is None:
            return None
        for name in names:
            if not isinstance(known.get(name), str):
                faults.tell(f"{stated} has no group (a text) for {name!r}; add it")
        return [str(known.get(name, name)) for name in names]
    if not all(path.suffix.lower() == ".dcm" for path in paths):
        return None
    groups = []
    for name, path in zip(names, paths, strict=True):
        group: str | None = None
        with faults.told():
            group = patient_of(path)
        groups.append(group or name)
    return groups


def _class_folders(folder: Path) -> list[Path]:
    parts = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    return [part for part in parts if any(True for _ in _samples_in(part))]


def _samples_in(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.suffix.lower() in FORMATS and not path.name.startswith("."))


def _by_name(folder: Path, paths: Iterator[Path], faults: Faults, prefix: str = "") -> dict[str, Path]:
    files: dict[str, Path] = {}
    for path in sorted(paths):
        name = prefix + path.stem
        if name in files:
            faults.tell(
                f"{folder}: {prefix}{files[name].name} and {prefix}{path.name} have one name; rename one of them"
            )
        files[name] = path
    return files


def _read_labels(path: Path, faults: Faults) -> dict[str, int]:
    labels = _read_object(path, '{"<name>": class} for every file of images/')
    for name, label in labels.items():
        if type(label) is not int or label < 0:
            faults.tell(f"{path} is invalid: {name!r} has the label {label!r}, expected an integer from 0 on; mend it")
            labels[name] = -1
    return labels


def _read_object(path: Path, what: str) -> dict[str, Any]:
    try:
        content = read_json(path.read_bytes())
    except FileNotFoundError:
        raise Misconfigured(f"{path} is missing; it should hold {what}") from None
    except OSError as error:
        raise Misconfigured(f"{path} cannot be read: {error}; see to its permissions") from None
    except Malformed as error:
        raise Misconfigured(f"{path} is invalid: {error}; it should hold {what}") from None
    if not isinstance(content, dict):
        raise Misconfigured(f"{path} is invalid: expected one object {what}")
    return content
