"""Small learning problems with a known answer."""

import numpy as np
import pytest

from pipeline.learning.data.datasets import Dataset, Samples


@pytest.fixture
def blobs():
    """120 points of 6 values in 3 classes that a linear network tells apart; every fourth is held back."""
    rng = np.random.default_rng(1)
    y = np.arange(120, dtype=np.int64) % 3
    x = (np.eye(3, 6)[y] * 4 + rng.normal(size=(120, 6)) * 0.3).astype(np.float32)
    apart = np.arange(120) % 4 == 0
    part = lambda rows: Samples(x=x, y=y, rows=rows)  # noqa: E731
    return Dataset(
        digest="d" * 64,
        everything=part(np.arange(120)),
        training=part(np.flatnonzero(~apart)),
        held_back=part(np.flatnonzero(apart)),
    )
