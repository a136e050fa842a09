"""The registered architectures by name and keyword arguments, without torch: what a task may ask for.

`architectures` builds them; `extensions` adds MONAI's and those of other packages. Every argument is an integer within bounds, so that no task makes a worker build a monster.
"""

import math
from collections.abc import Mapping, Sequence

from pipeline.errors import Rejected
from pipeline.learning.models.extensions import Argument, extension_names, find_extension
from pipeline.protocol.task import Architecture

#: The smallest image side that the cnn's two convolutions of 5x5 and its pooling leave something of.
CNN_LEAST_SIDE = 20


_CLASSES = Argument(10, 100_000)
_CHANNELS = Argument(1, 1024)
_FEATURES = Argument(784, 10_000_000)

#: Name -> keyword arguments.
CATALOGUE: Mapping[str, Mapping[str, Argument]] = {
    "linear": {"in_features": _FEATURES, "num_classes": _CLASSES},
    "mlp": {"in_features": _FEATURES, "hidden": Argument(128, 1_000_000), "num_classes": _CLASSES},
    "cnn": {"in_channels": _CHANNELS, "num_classes": _CLASSES},
    "resnet9": {"in_channels": Argument(3, 1024), "num_classes": _CLASSES},
}


def resolved(architecture: Architecture) -> dict[str, int]:
    """Every keyword argument with its value. Raises Rejected, naming what is unknown or out of range."""
    arguments = _arguments(architecture.name)
    problems = [
        f"{name[:80]!r} is no argument of {architecture.name} (it takes {', '.join(arguments)})"
        for name in architecture.kwargs
        if name not in arguments
    ]
    for name, argument in arguments.items():
        value = architecture.kwargs.get(name, argument.default)
        if type(value) is not int or not argument.smallest <= value <= argument.largest:
            problems.append(
                f"{name} must be an integer from {argument.smallest} to {argument.largest}, got {str(value)[:80]!r}"
            )
    if problems:
        raise Rejected(*(f"architecture {architecture.name}: {problem}" for problem in problems))
    return {name: architecture.kwargs.get(name, argument.default) for name, argument in arguments.items()}


def _arguments(name: str) -> Mapping[str, Argument]:
    if name in CATALOGUE:
        return CATALOGUE[name]
    extension = find_extension(name)
    if extension is None:
        known = ", ".join(sorted(CATALOGUE) + extension_names())
        raise Rejected(f"architecture {name[:80]!r} is unknown; there are: {known}")
    return extension.arguments


def class_count(architecture: Architecture) -> int:
    """How many classes the network tells apart. Raises Rejected as `resolved`."""
    extension = None if architecture.name in CATALOGUE else find_extension(architecture.name)
    return resolved(architecture)[extension.classes if extension else "num_classes"]


def misfit(architecture: Architecture, shape: Sequence[int]) -> str | None:
    """Why a sample of this shape cannot go into the network, as half a sentence; None where it can."""
    arguments = resolved(architecture)
    if architecture.name not in CATALOGUE:
        extension = find_extension(architecture.name)
        return extension.misfit(arguments, shape) if extension else None
    if architecture.name in ("linear", "mlp"):
        wanted, found = arguments["in_features"], math.prod(shape)
        return None if wanted == found else f"{architecture.name} takes {wanted} values a sample, these have {found}"
    channels = arguments["in_channels"]
    if len(shape) != 3 or shape[0] != channels:
        return f"{architecture.name} takes images of {channels} channel(s), these have the shape {tuple(shape)}"
    if architecture.name == "cnn" and min(shape[1:]) < CNN_LEAST_SIDE:
        return f"cnn takes images from {CNN_LEAST_SIDE}x{CNN_LEAST_SIDE} on, these have the shape {tuple(shape)}"
    return None
