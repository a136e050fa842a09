"""Random changes of images while training, by MONAI's transforms (the extra `monai`): named, with numbers within bounds.

"augmentation": [{"name": "RandFlip", "kwargs": {"prob": 0.5, "spatial_axis": 1}}, {"name": "RandRotate", "kwargs": {"range_x": 0.2}}]
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Misconfigured, Rejected
from pipeline.protocol.task import Transform

#: More would make a sample something else.
MOST = 16


@dataclass(frozen=True)
class Number:
    """A keyword argument's bounds."""

    smallest: float
    largest: float
    whole: bool = False


_PROB = Number(0, 1)
#: What may be named, by MONAI's names and keyword arguments; all for images of two dimensions.
TRANSFORMS: Mapping[str, Mapping[str, Number]] = {
    "RandFlip": {"prob": _PROB, "spatial_axis": Number(0, 1, whole=True)},
    "RandRotate": {"prob": _PROB, "range_x": Number(0, 3.15)},
    "RandZoom": {"prob": _PROB, "min_zoom": Number(0.1, 1), "max_zoom": Number(1, 10)},
    "RandGaussianNoise": {"prob": _PROB, "mean": Number(-10, 10), "std": Number(0, 10)},
    "RandGaussianSmooth": {"prob": _PROB},
    "RandShiftIntensity": {"prob": _PROB, "offsets": Number(0, 10)},
    "RandScaleIntensity": {"prob": _PROB, "factors": Number(0, 10)},
}
_NEEDED = {"RandShiftIntensity": "offsets", "RandScaleIntensity": "factors"}


def augmentation_problems(transforms: Sequence[Transform]) -> list[str]:
    """Everything that is unknown or out of range, each as half a sentence."""
    found = [f"augmentation has {len(transforms)} transforms, at most {MOST} are"] if len(transforms) > MOST else []
    return found + [problem for transform in transforms[:MOST] for problem in _problems(transform)]


class Augmentation:
    """Some transforms, one after another. Raises Misconfigured without MONAI, Rejected for samples that are no 2-D images."""

    def __init__(self, transforms: Sequence[Transform], shape: Sequence[int]) -> None:
        if len(shape) != 3:
            raise Rejected(f"augmentation is for images [channels, height, width], these samples are {tuple(shape)}")
        try:
            from monai import transforms as monai
        except ImportError:
            raise Misconfigured(
                "the training's augmentation needs MONAI: pip install 'flfleet[monai]', or set augmentation = [] in the "
                "data set's dataset.toml to train without it"
            ) from None
        self._all = monai.Compose([getattr(monai, each.name)(**each.kwargs) for each in transforms])

    def begin(self, seed: int) -> None:
        """An epoch begins: the same seed gives the same changes."""
        self._all.set_random_state(seed)

    def __call__(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Changed copies of float32[n, channels, height, width]."""
        return np.stack([np.asarray(self._all(sample.copy()), dtype=np.float32) for sample in x])


def _problems(transform: Transform) -> Iterator[str]:
    arguments = TRANSFORMS.get(transform.name)
    if arguments is None:
        yield f"augmentation {transform.name[:40]!r} is unknown; there are: {', '.join(TRANSFORMS)}"
        return
    for name, value in transform.kwargs.items():
        argument = arguments.get(name)
        if argument is None:
            yield f"{transform.name} takes {', '.join(arguments)}, not {name[:40]!r}"
        elif not _is_within(value, argument):
            kind = "a whole number" if argument.whole else "a number"
            yield f"{transform.name}'s {name} must be {kind} from {argument.smallest:g} to {argument.largest:g}, got {str(value)[:40]!r}"
    needed = _NEEDED.get(transform.name)
    if needed is not None and needed not in transform.kwargs:
        yield f"{transform.name} needs {needed}"


def _is_within(value: Any, argument: Number) -> bool:
    if isinstance(value, bool) or not isinstance(value, int if argument.whole else int | float):
        return False
    return argument.smallest <= value <= argument.largest
