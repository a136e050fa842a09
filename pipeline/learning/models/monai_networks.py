"""MONAI's classifiers as architectures `monai:<name>`: the field's own library, by MONAI's own argument names.

Weights come from the task's model file, never from a hub. MONAI is the extra `monai`; here it is only named.
"""

from collections.abc import Mapping, Sequence

from pipeline.learning.models.extensions import Argument, Extension

_CLASSES = Argument(2, 100_000)
_CHANNELS = Argument(1, 1024)
_DIMENSIONS = Argument(2, 3, smallest=2)
#: Five halvings leave one value of it.
_LEAST_SIDE = 32
_BUILDERS = "pipeline.learning.models.monai_builders"


def _network(builder: str, *, channels: str, classes: str) -> Extension:
    def misfit(arguments: Mapping[str, int], shape: Sequence[int]) -> str | None:
        dimensions, wanted = arguments["spatial_dims"], arguments[channels]
        if len(shape) != dimensions + 1 or shape[0] != wanted:
            return (
                f"it takes {dimensions}-dimensional images of {wanted} channel(s), these have the shape {tuple(shape)}"
            )
        if min(shape[1:]) < _LEAST_SIDE:
            return f"it takes images from {_LEAST_SIDE} on a side, these have the shape {tuple(shape)}"
        return None

    arguments = {"spatial_dims": _DIMENSIONS, channels: _CHANNELS, classes: _CLASSES}
    return Extension(arguments=arguments, builder=f"{_BUILDERS}:{builder}", classes=classes, misfit=misfit)


#: Names as MONAI has them.
NETWORKS: Mapping[str, Extension] = {
    **{
        name: _network(name, channels="in_channels", classes="out_channels")
        for name in ("DenseNet121", "DenseNet169", "DenseNet201")
    },
    **{
        name: _network(name, channels="in_channels", classes="num_classes")
        for name in ("SEResNet50", "SEResNext50", "EfficientNetB0")
    },
    **{
        name: _network(name, channels="n_input_channels", classes="num_classes")
        for name in ("resnet10", "resnet18", "resnet34", "resnet50")
    },
}
