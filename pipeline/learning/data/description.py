"""`dataset.toml`, the optional word of the operator about a data set.

shape = [28, 28]            # of every file, as stored
classes = 10                # labels are 0 .. classes - 1
channels = "last"           # where three-dimensional images have theirs: "first" or "last"
validation_share = 0.1      # part held back from training, in place of FLFLEET_VALIDATION_SHARE
mean = [0.485, 0.456, 0.406]    # (value - mean) / std, after 8-bit images are scaled to 0 .. 1:
std = [0.229, 0.224, 0.225]     # a number, or one per channel (of a table: per feature)
class_names = ["normal", "pneumonia"]   # folders or texts that stand for the classes 0, 1, ...
size = [224, 224]           # height and width that PNG, JPEG and DICOM images are scaled to
window = [40, 400]          # centre and width for DICOM, in place of the files' own
label = "diagnosis"         # a table's columns: the class,
group = "patient"           # who it belongs to (a group is held back whole or not at all),
features = ["age", "bmi"]   # and the values, in the model's order; else all others as they stand
class_weights = "balanced"  # in place of the task's: a list or "balanced"
augmentation = [{name = "RandFlip", kwargs = {spatial_axis = 1}}]   # in place of the task's; [] is none
"""

import math
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec

from pipeline.errors import Misconfigured
from pipeline.learning.data.faults import Faults
from pipeline.protocol.task import Training, Transform

FILE_NAME = "dataset.toml"
_LARGEST_SIDE = 16_384


class Description(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file's members, all optional."""

    shape: list[int] | None = None
    classes: int | None = None
    channels: Literal["first", "last"] | None = None
    validation_share: float | None = None
    mean: float | list[float] = 0.0
    std: float | list[float] = 1.0
    class_names: list[str] | None = None
    size: tuple[int, int] | None = None
    window: tuple[float, float] | None = None
    label: str = "label"
    group: str | None = None
    features: list[str] | None = None
    class_weights: str | list[float] | None = None
    augmentation: list[Transform] | None = None

    def prepares(self) -> dict[str, Any]:
        """What decides how samples come out; how they are trained on is not part of a data set's digest."""
        members = msgspec.to_builtins(self)
        return {name: value for name, value in members.items() if name not in ("class_weights", "augmentation")}

    def wishes(self, training: Training) -> Training:
        """The task's training with what the operator wants in place of it."""
        changes: dict[str, Any] = {}
        if self.class_weights is not None:
            changes["class_weights"] = self.class_weights
        if self.augmentation is not None:
            changes["augmentation"] = self.augmentation
        return msgspec.structs.replace(training, **changes)

    @property
    def class_count(self) -> int | None:
        """How many classes there are, where it is said."""
        return len(self.class_names) if self.class_names is not None else self.classes


def read_description(folder: Path, faults: Faults | None = None) -> Description:
    """Reads a data set's `dataset.toml`; without one, nothing is described. What is wrong is told, and raised as Misconfigured without `faults`.

    Members that are wrong are left out of what is returned. Raises Misconfigured for a file that is no TOML.
    """
    faults = faults or Faults()
    path = folder / FILE_NAME
    try:
        text = path.read_text()
    except FileNotFoundError:
        return Description()
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{path} cannot be read: {error}") from None
    try:
        members = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Misconfigured(f"{path} is not valid TOML: {error}; mend that line") from None
    sound = {}
    for name, value in members.items():
        try:
            msgspec.convert({name: value}, Description, strict=True)
        except msgspec.ValidationError as error:
            faults.tell(f"{path}: {error}; mend or remove it")
        else:
            sound[name] = value
    for name, problem in _problems(msgspec.convert(sound, Description, strict=True)):
        faults.tell(f"{path}: {problem}")
        sound.pop(name, None)
    return msgspec.convert(sound, Description, strict=True)


def _problems(description: Description) -> Iterator[tuple[str, str]]:
    """(member, what it must be)."""
    if description.shape is not None and (not description.shape or min(description.shape) < 1):
        yield "shape", "shape must be a list of positive integers"
    if description.classes is not None and description.classes < 1:
        yield "classes", "classes must be at least 1"
    if description.validation_share is not None and not 0 <= description.validation_share < 1:
        yield "validation_share", "validation_share must be from 0 to below 1"
    for name, numbers in (("mean", _numbers(description.mean)), ("std", _numbers(description.std))):
        if not numbers or not all(map(math.isfinite, numbers)) or (name == "std" and min(numbers) <= 0):
            yield name, "mean must be finite and std above 0"
    names = description.class_names
    if names is not None and (not names or len(set(names)) != len(names)):
        yield "class_names", "class_names must be distinct names"
    elif names is not None and description.classes not in (None, len(names)):
        yield "classes", f"classes is {description.classes}, but class_names are {len(names)}; leave classes out"
    if description.size is not None and not 1 <= min(description.size) <= max(description.size) <= _LARGEST_SIDE:
        yield "size", f"size must be [height, width], each from 1 to {_LARGEST_SIDE}"
    if description.window is not None and not (
        all(map(math.isfinite, description.window)) and description.window[1] >= 1
    ):
        yield "window", "window must be [centre, width], the width at least 1"
    if description.features is not None and len(set(description.features)) != max(1, len(description.features)):
        yield "features", "features must be distinct columns"


def _numbers(value: float | list[float]) -> list[float]:
    return value if isinstance(value, list) else [value]
