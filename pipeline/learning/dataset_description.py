"""`dataset.toml`, the optional word of the operator about a data set.

shape = [28, 28]            # of every file, as stored
classes = 10                # labels are 0 .. classes - 1
channels = "last"           # where three-dimensional images have theirs: "first" or "last"
validation_share = 0.1      # part held back from training, in place of FLFLEET_VALIDATION_SHARE
mean = [0.485, 0.456, 0.406]    # (value - mean) / std, after 8-bit images are scaled to 0 .. 1:
std = [0.229, 0.224, 0.225]     # a number, or one per channel
"""

import math
import tomllib
from pathlib import Path
from typing import Literal

import msgspec

from pipeline.errors import Misconfigured

FILE_NAME = "dataset.toml"


class Description(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file's members, all optional."""

    shape: list[int] | None = None
    classes: int | None = None
    channels: Literal["first", "last"] | None = None
    validation_share: float | None = None
    mean: float | list[float] = 0.0
    std: float | list[float] = 1.0


def read_description(folder: Path) -> Description:
    """Reads a data set's `dataset.toml`; without one, nothing is described. Raises Misconfigured, naming the member."""
    path = folder / FILE_NAME
    try:
        text = path.read_text()
    except FileNotFoundError:
        return Description()
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{path} cannot be read: {error}") from None
    try:
        description = msgspec.convert(tomllib.loads(text), Description, strict=True)
    except tomllib.TOMLDecodeError as error:
        raise Misconfigured(f"{path} is not valid TOML: {error}") from None
    except msgspec.ValidationError as error:
        raise Misconfigured(f"{path}: {error}") from None
    for problem in _problems(description):
        raise Misconfigured(f"{path}: {problem}")
    return description


def _problems(description: Description) -> list[str]:
    found = []
    if description.shape is not None and (not description.shape or min(description.shape) < 1):
        found.append("shape must be a list of positive integers")
    if description.classes is not None and description.classes < 1:
        found.append("classes must be at least 1")
    if description.validation_share is not None and not 0 <= description.validation_share < 1:
        found.append("validation_share must be from 0 to below 1")
    mean, std = _numbers(description.mean), _numbers(description.std)
    if not mean or not std or not all(map(math.isfinite, mean + std)) or min(std) <= 0:
        found.append("mean must be finite and std above 0")
    return found


def _numbers(value: float | list[float]) -> list[float]:
    return value if isinstance(value, list) else [value]
