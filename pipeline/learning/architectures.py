"""Networks by registered name, with their keyword arguments checked.

A task names one as {"name": "cnn", "kwargs": {"num_classes": 10}}; nothing that comes over the network is ever unpickled.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import Rejected
from pipeline.protocol.task import Architecture


def _linear(*, in_features: int = 784, num_classes: int = 10) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(in_features, num_classes))


def _mlp(*, in_features: int = 784, hidden: int = 128, num_classes: int = 10) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(in_features, hidden), nn.ReLU(), nn.Linear(hidden, num_classes))


def _cnn(*, in_channels: int = 1, image_size: int = 28, num_classes: int = 10) -> nn.Module:
    """Two convolutions and one linear layer: 9,098 parameters for 28 x 28 grey images of 10 classes."""
    side = image_size // 4
    return nn.Sequential(
        nn.Conv2d(in_channels, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(16 * side * side, num_classes),
    )  # fmt: skip


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block = nn.Sequential(_convolution(channels, channels), _convolution(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x + self.block(x)
        return result


def _convolution(inputs: int, outputs: int, *, pool: bool = False) -> nn.Module:
    layers = [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.MaxPool2d(2)) if pool else nn.Sequential(*layers)


def _resnet9(*, in_channels: int = 3, num_classes: int = 10) -> nn.Module:
    return nn.Sequential(
        _convolution(in_channels, 64), _convolution(64, 128, pool=True), _Residual(128),
        _convolution(128, 256, pool=True), _convolution(256, 512, pool=True), _Residual(512),
        nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(512, num_classes),
    )  # fmt: skip


REGISTRY: Mapping[str, Callable[..., nn.Module]] = {"linear": _linear, "mlp": _mlp, "cnn": _cnn, "resnet9": _resnet9}
#: No network here has a side or a layer wider than this; a task that asks for more wants our memory.
_LARGEST_ARGUMENT = 1_000_000


def build(architecture: Architecture) -> nn.Module:
    """A freshly initialised network. Raises Rejected: an unknown name, unknown or unfit arguments."""
    factory = REGISTRY.get(architecture.name)
    if factory is None:
        known = ", ".join(sorted(REGISTRY))
        raise Rejected(f"architecture {architecture.name[:80]!r} is not known here; known are {known}")
    _check_arguments(architecture, factory)
    return factory(**architecture.kwargs)


def skeleton(architecture: Architecture) -> nn.Module:
    """The network's shapes without memory for its weights. Raises Rejected as `build`."""
    with torch.device("meta"):
        return build(architecture)


def class_count(module: nn.Module) -> int:
    """The number of classes, which the last linear layer tells."""
    linear = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
    return int(linear[-1].out_features)


def infer(shapes: Mapping[str, tuple[int, ...]]) -> Architecture | None:
    """The one registered network that has exactly these tensors, or None where none or several have."""
    found = [candidate for candidate in _candidates(shapes) if _shapes(skeleton(candidate)) == dict(shapes)]
    return found[0] if len(found) == 1 else None


def _candidates(shapes: Mapping[str, tuple[int, ...]]) -> list[Architecture]:
    """Every set of arguments that the tensors' own sizes suggest."""
    matrices = [shape for shape in shapes.values() if len(shape) == 2]
    kernels = [shape for shape in shapes.values() if len(shape) == 4]
    if not matrices:
        return []
    classes, features = matrices[-1]
    first, hidden = matrices[0][1], matrices[0][0]
    channels = kernels[0][1] if kernels else 1
    side = 4 * round((features / 16) ** 0.5)
    suggestions: list[tuple[str, dict[str, Any]]] = [
        ("linear", {"in_features": features, "num_classes": classes}),
        ("mlp", {"in_features": first, "hidden": hidden, "num_classes": classes}),
        ("cnn", {"in_channels": channels, "image_size": side, "num_classes": classes}),
        ("resnet9", {"in_channels": channels, "num_classes": classes}),
    ]
    return [Architecture(name=name, kwargs=arguments) for name, arguments in suggestions if min(arguments.values()) > 0]


def _shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def _check_arguments(architecture: Architecture, factory: Callable[..., nn.Module]) -> None:
    parameters = inspect.signature(factory).parameters
    for name, value in architecture.kwargs.items():
        if name not in parameters:
            known = ", ".join(parameters)
            raise Rejected(f"architecture {architecture.name}: no argument {name[:80]!r}; it takes {known}")
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= _LARGEST_ARGUMENT:
            raise Rejected(
                f"architecture {architecture.name}: {name} must be a whole number from 1 to {_LARGEST_ARGUMENT}, got {value!r}"
            )
