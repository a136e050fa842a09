"""Builds MONAI's networks, without pretrained weights: nothing is downloaded."""

from functools import partial

from monai.networks.nets import (
    DenseNet121,
    DenseNet169,
    DenseNet201,
    EfficientNetBN,
    SEResNet50,
    SEResNext50,
    resnet10,
    resnet18,
    resnet34,
    resnet50,
)

__all__ = [
    "DenseNet121",
    "DenseNet169",
    "DenseNet201",
    "EfficientNetB0",
    "SEResNet50",
    "SEResNext50",
    "resnet10",
    "resnet18",
    "resnet34",
    "resnet50",
]

EfficientNetB0 = partial(EfficientNetBN, "efficientnet-b0", pretrained=False)
