"""The registered architectures as torch modules (`catalogue` lists them and their arguments).

The names of their layers are part of the protocol in practice: a state dict's order is the order of an update.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.learning.models.catalogue import CATALOGUE, resolved
from pipeline.learning.models.extensions import builder_of
from pipeline.protocol.task import Architecture


class Linear(nn.Module):
    """One layer: softmax regression."""

    def __init__(self, *, in_features: int, num_classes: int) -> None:
        super().__init__()
        self.fc = nn.Linear(in_features, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """float32[n, ...] to logits[n, num_classes]."""
        logits: Tensor = self.fc(x.flatten(1))
        return logits


class Mlp(nn.Module):
    """One hidden layer."""

    def __init__(self, *, in_features: int, hidden: int, num_classes: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(in_features, hidden)
        self.fc2 = nn.Linear(hidden, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """float32[n, ...] to logits[n, num_classes]."""
        logits: Tensor = self.fc2(functional.relu(self.fc1(x.flatten(1))))
        return logits


class Cnn(nn.Module):
    """Two convolutions and a linear layer: 11,770 parameters for grey images with ten classes.

    Pooling to 4x4 whatever the image's size, so that the state dict alone says which network it is.
    """

    def __init__(self, *, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 8, 5)
        self.conv2 = nn.Conv2d(8, 32, 5)
        self.fc = nn.Linear(32 * 4 * 4, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """float32[n, in_channels, h, w] to logits[n, num_classes]."""
        x = functional.max_pool2d(functional.relu(self.conv1(x)), 2)
        x = functional.adaptive_max_pool2d(functional.relu(self.conv2(x)), 4)
        logits: Tensor = self.fc(x.flatten(1))
        return logits


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with batch norm around a shortcut (He et al. 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = (
            nn.Sequential()
            if inputs == outputs
            else nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        )

    def forward(self, x: Tensor) -> Tensor:
        """[n, inputs, h, w] to [n, outputs, h/stride, w/stride]."""
        out = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        return functional.relu(out + self.downsample(x))


class ResNet9(nn.Module):
    """A ResNet of four stages with one block each (64, 128, 256, 512): 4,903,242 parameters with ten classes."""

    def __init__(self, *, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 64, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = ResidualBlock(64, 64, 1)
        self.layer2 = ResidualBlock(64, 128, 2)
        self.layer3 = ResidualBlock(128, 256, 2)
        self.layer4 = ResidualBlock(256, 512, 2)
        self.fc = nn.Linear(512, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """float32[n, in_channels, h, w] to logits[n, num_classes]."""
        x = functional.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        logits: Tensor = self.fc(functional.adaptive_avg_pool2d(x, 1).flatten(1))
        return logits


_BUILDERS: Mapping[str, Callable[..., nn.Module]] = {"linear": Linear, "mlp": Mlp, "cnn": Cnn, "resnet9": ResNet9}

#: Where a state dict shows an architecture's arguments: argument -> (tensor, axis).
_SHOWN_BY: Mapping[str, Mapping[str, tuple[str, int]]] = {
    "linear": {"in_features": ("fc.weight", 1), "num_classes": ("fc.weight", 0)},
    "mlp": {"in_features": ("fc1.weight", 1), "hidden": ("fc1.weight", 0), "num_classes": ("fc2.weight", 0)},
    "cnn": {"in_channels": ("conv1.weight", 1), "num_classes": ("fc.weight", 0)},
    "resnet9": {"in_channels": ("conv1.weight", 1), "num_classes": ("fc.weight", 0)},
}


def build(architecture: Architecture) -> nn.Module:
    """A freshly initialised network. Raises Rejected: unknown name, unknown or wrong keyword arguments. Misconfigured: a package is missing."""
    arguments = resolved(architecture)
    builder = _BUILDERS.get(architecture.name) or builder_of(architecture.name)
    return builder(**arguments)


def layout(architecture: Architecture) -> dict[str, Tensor]:
    """The state dict without memory (meta tensors): names, shapes and dtypes in order. Raises Rejected as `build`."""
    with torch.device("meta"):
        return dict(build(architecture).state_dict())


def infer(state: Mapping[str, Tensor]) -> Architecture | None:
    """The one architecture whose names and shapes are exactly these; None where there is a doubt."""
    found = [candidate for name in _BUILDERS if (candidate := _candidate(name, state)) is not None]
    return found[0] if len(found) == 1 else None


def _candidate(name: str, state: Mapping[str, Tensor]) -> Architecture | None:
    kwargs: dict[str, int] = {}
    for argument, (tensor, axis) in _SHOWN_BY[name].items():
        if tensor not in state or axis >= state[tensor].dim():
            return None
        kwargs[argument] = state[tensor].shape[axis]
        if not 1 <= kwargs[argument] <= CATALOGUE[name][argument].largest:
            return None
    architecture = Architecture(name=name, kwargs=kwargs)
    expected = {key: tensor.shape for key, tensor in layout(architecture).items()}
    return architecture if expected == {key: tensor.shape for key, tensor in state.items()} else None
