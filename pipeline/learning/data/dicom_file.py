"""DICOM images as a viewer shows them, by pydicom (the extra `dicom`): float32 from 0 (black) to 1 (white).

Stored values go through the modality's rescaling, the window (of dataset.toml, else of the file, else all that its bits can hold),
and MONOCHROME1, where low values are white, is turned over. Sources: DICOM PS3.3 C.7.6.3.1.2, C.11.1.1.2 and C.11.2.1.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Misconfigured
from pipeline.learning.data.description import Description

if TYPE_CHECKING:
    from pydicom import Dataset


def load_dicom(path: Path, description: Description) -> NDArray[Any]:
    """Grey: float32 [height, width], of several frames [1, frames, height, width]; colour: [height, width, 3].

    Raises Misconfigured: no DICOM, no pixels, a compression that no installed decoder reads.
    """
    dataset = _read(path)
    from pydicom.pixels.processing import apply_modality_lut

    try:
        pixels = dataset.pixel_array
        if int(dataset.get("SamplesPerPixel", 1)) > 1:
            return _scaled(
                pixels.astype(np.float32) / np.float32(2 ** int(dataset.BitsAllocated) - 1), description, path
            )
        values = np.asarray(apply_modality_lut(pixels, dataset), dtype=np.float64)
        grey = _windowed(values, dataset, description)
    except (AttributeError, ValueError, TypeError, RuntimeError, NotImplementedError, KeyError, IndexError) as error:
        hint = "its transfer syntax may need a decoder: pip install 'pydicom[pixeldata]'"
        raise Misconfigured(f"{path}: its pixels cannot be read: {str(error)[:200]} ({hint})") from None
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        grey = 1 - grey
    image = grey.astype(np.float32)
    return _scaled(image if image.ndim == 2 else image[np.newaxis], description, path)


def patient_of(path: Path) -> str | None:
    """The PatientID, or None where the file has none. Raises Misconfigured."""
    patient = str(_read(path, tags=["PatientID"]).get("PatientID") or "").strip()
    return patient or None


def _read(path: Path, tags: list[str] | None = None) -> "Dataset":
    try:
        import pydicom
        from pydicom.errors import InvalidDicomError
    except ImportError:
        raise Misconfigured(f"{path.parent}: DICOM needs pydicom: pip install 'flfleet[dicom]'") from None
    try:
        return pydicom.dcmread(path, specific_tags=tags, stop_before_pixels=tags is not None)
    except (InvalidDicomError, OSError, ValueError, EOFError, KeyError, NotImplementedError) as error:
        raise Misconfigured(
            f"{path} is no readable DICOM file: {str(error)[:200]}; export it anew, or remove it (and its label)"
        ) from None


def _windowed(values: NDArray[np.float64], dataset: "Dataset", description: Description) -> NDArray[np.float64]:
    """0 .. 1 by the LINEAR function, LINEAR_EXACT or SIGMOID of C.11.2.1."""
    centre, width = description.window or _own_window(dataset) or _all_values(dataset)
    function = "LINEAR" if description.window else str(dataset.get("VOILUTFunction", "LINEAR")).upper()
    if function == "SIGMOID":
        return np.asarray(1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -700, 700))))
    if function == "LINEAR" and width > 1:
        centre, width = centre - 0.5, width - 1
    return np.asarray(np.clip((values - centre) / width + 0.5, 0, 1))


def _own_window(dataset: "Dataset") -> tuple[float, float] | None:
    """The file's first window."""
    centre, width = (dataset.get(name) for name in ("WindowCenter", "WindowWidth"))
    if centre is None or width is None:
        return None
    first = [
        float(value[0] if hasattr(value, "__getitem__") and not isinstance(value, str) else value)
        for value in (centre, width)
    ]
    return (first[0], first[1]) if first[1] > 0 else None


def _all_values(dataset: "Dataset") -> tuple[float, float]:
    """From the lowest to the highest value that the stored bits can hold, rescaled."""
    bits, signed = int(dataset.BitsStored), int(dataset.get("PixelRepresentation", 0))
    low = -(2 ** (bits - 1)) if signed else 0
    slope, intercept = float(dataset.get("RescaleSlope", 1) or 1), float(dataset.get("RescaleIntercept", 0) or 0)
    ends = sorted((slope * low + intercept, slope * (low + 2**bits - 1) + intercept))
    return (ends[0] + ends[1]) / 2 + 0.5, ends[1] - ends[0] + 1


def _scaled(image: NDArray[np.float32], description: Description, path: Path) -> NDArray[np.float32]:
    if description.size is None:
        return image
    if image.ndim > 3:
        raise Misconfigured(
            f"{path}: has {image.shape[1]} frames, and size of dataset.toml scales single images only; leave size out"
        )
    from PIL import Image

    from pipeline.learning.data.image_file import scaled

    planes = [image] if image.ndim == 2 else [image[..., channel] for channel in range(image.shape[2])]
    done = [np.asarray(scaled(Image.fromarray(np.ascontiguousarray(plane)), description.size)) for plane in planes]
    return done[0] if image.ndim == 2 else np.stack(done, axis=-1)
