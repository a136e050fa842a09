import os
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.learning_rival import flower, python_of
from bench.learning_rules import fedavg
from pipeline.errors import FleetError


def test_a_python_without_flwr_is_named() -> None:
    with pytest.raises(FleetError, match="cannot run flwr"), flower(Path(sys.executable)):
        pass


def test_an_environment_that_was_not_made_is_none(tmp_path: Path) -> None:
    assert python_of(tmp_path) is None


def test_flwrs_average_is_ours_when_all_miners_count_alike() -> None:
    folder = os.environ.get("FLFLEET_TEST_FLWR")
    if not folder:
        pytest.skip("flwr: FLFLEET_TEST_FLWR names no environment that has it")
    python = python_of(Path(folder))
    assert python is not None
    rng = np.random.default_rng(1)
    w, *deltas = (rng.normal(size=1000).astype(np.float32) for _ in range(6))
    with flower(python) as average:
        for _ in range(2):
            assert np.allclose(average(w, deltas), fedavg(w, deltas), atol=1e-6)
