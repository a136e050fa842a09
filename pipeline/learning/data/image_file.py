"""PNG and JPEG, by Pillow (the extra `images`): grey as [height, width], colour as [height, width, 3]."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Misconfigured
from pipeline.learning.data.description import Description

if TYPE_CHECKING:
    from PIL.Image import Image

_GREY = ("1", "L", "LA", "La")
_DEEP_GREY = ("I;16", "I;16B", "I;16L", "I;16N", "I")


def load_image(path: Path, description: Description) -> NDArray[Any]:
    """uint8 0 .. 255; grey of 16 bits as float32 0 .. 1. Turned as the camera says, scaled to `size`. Raises Misconfigured."""
    try:
        from PIL import Image, ImageOps
    except ImportError:
        raise Misconfigured(f"{path.parent}: images need Pillow: pip install 'flfleet[images]'") from None
    try:
        with warnings.catch_warnings(), Image.open(path, formats=("PNG", "JPEG")) as opened:
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = ImageOps.exif_transpose(opened)
            return _pixels(image, description)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise Misconfigured(
            f"{path} is no readable PNG or JPEG image: {error}; export it anew, or remove it (and its label)"
        ) from None


def scaled(image: "Image", size: tuple[int, int] | None) -> "Image":
    """To [height, width]; smooth, as a radiologist's viewer does it."""
    from PIL import Image

    return image if size is None else image.resize((size[1], size[0]), Image.Resampling.BILINEAR)


def _pixels(image: "Image", description: Description) -> NDArray[Any]:
    if image.mode in _DEEP_GREY:
        deep = scaled(image.convert("F"), description.size)
        return np.asarray(deep, dtype=np.float32) / np.float32(65535)
    return np.array(scaled(image.convert("L" if image.mode in _GREY else "RGB"), description.size))
