import numpy as np
import pytest
import torch

from pipeline.aggregation.evaluate import evaluate, new_model
from pipeline.errors import Misconfigured, Rejected
from pipeline.learning.models.architectures import build
from pipeline.learning.models.checkpoints import flatten, read_model
from pipeline.learning.models.model_file import write_model
from pipeline.learning.update import apply_update
from tests.learning_jobs import make_task, write_ward


@pytest.fixture
def parent(tmp_path):
    """A linear model with zero weights: it holds every sample for class 0."""
    architecture = make_task().architecture
    state = {name: torch.zeros_like(tensor) for name, tensor in build(architecture).state_dict().items()}
    path = tmp_path / "parent"
    path.write_bytes(write_model(state, architecture))
    write_ward(tmp_path / "validation")
    return path


def written(parent, sums, support=None, task=None):
    path = parent.parent / "new"
    path.write_bytes(new_model(parent, task or make_task(), sums, support, 3))
    return path


def accuracy_of(path, data="validation"):
    return evaluate(path, make_task(), path.parent / data, path.parent / "cache")


DIAGONAL = [0, 7, 14]  # of the weights, which tells the three classes apart: -(-300) / (3 * 100) = 1


def test_a_sum_becomes_a_better_model(parent):
    sums = np.zeros(21, dtype=np.int64)
    sums[DIAGONAL] = -300
    path = written(parent, sums)
    new = read_model(path, None, max_dimension=21)
    assert flatten(new.state).tolist() == apply_update(np.zeros(21, np.float32), sums, None, 3, 100).tolist()
    assert flatten(new.state)[DIAGONAL].tolist() == [1, 1, 1]
    assert accuracy_of(parent) == pytest.approx(1 / 3)
    assert accuracy_of(path) == 1.0


def test_no_update_is_the_parent_byte_for_byte(parent):
    assert written(parent, np.zeros(21, dtype=np.int64)).read_bytes() == parent.read_bytes()


def test_a_support_leaves_the_rest_alone(parent):
    path = written(parent, np.array([-300, -300, -300]), np.array(DIAGONAL))
    assert np.flatnonzero(flatten(read_model(path, None, max_dimension=21).state)).tolist() == DIAGONAL


def test_sums_of_another_support_are_refused(parent):
    with pytest.raises(ValueError, match="1 sums for 21 coordinates"):
        written(parent, np.array([-300]))


def test_validation_data_without_this_data_set_are_named(parent):
    with pytest.raises(Misconfigured, match="data set 'ward': no folder"):
        accuracy_of(parent, "elsewhere")


def test_a_model_that_is_not_the_tasks_is_refused(parent):
    architecture = {"name": "linear", "kwargs": {"in_features": 7, "num_classes": 3}}
    with pytest.raises(Rejected, match="has the shape"):
        written(parent, np.zeros(24, dtype=np.int64), task=make_task(architecture=architecture, dimension=24))
