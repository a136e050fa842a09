import numpy as np
import pytest
import torch
from torch import nn

from pipeline.errors import Misconfigured
from pipeline.learning.gradients import accumulate, reduced_precision
from pipeline.learning.recipe import Loss
from pipeline.learning.training import Limits, train
from pipeline.protocol.task import Training

CPU = torch.device("cpu")
X = np.random.default_rng(0).normal(size=(13, 6)).astype(np.float32)
Y = np.arange(13, dtype=np.int64) % 3


class Small(nn.Module):
    """A network whose memory holds `most` samples at a time."""

    def __init__(self, most=10**9, error=torch.OutOfMemoryError):
        super().__init__()
        torch.manual_seed(0)
        self.fc = nn.Linear(6, 3)
        self.most, self.error, self.seen = most, error, []

    def forward(self, x):
        self.seen.append(len(x))
        if len(x) > self.most:
            raise self.error("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
        return self.fc(x)


def gradient(module, part=13, **options):
    loss = Loss(Training(class_weights=[1.0, 2.0, 0.5]), Y)
    value, fitted = accumulate(module, loss, X, Y, part=part, device=CPU, **options)
    return value, fitted, module.fc.weight.grad.clone()


def test_parts_give_the_gradient_of_the_whole():
    whole, _, expected = gradient(Small())
    for part in (1, 2, 5, 12, 13, 100):
        value, fitted, found = gradient(Small(), part)
        assert fitted == part
        assert value == pytest.approx(whole, rel=1e-6)
        assert torch.allclose(found, expected, atol=1e-7)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError, MemoryError])
def test_a_memory_error_is_answered_by_smaller_parts(error):
    small = Small(most=3, error=error)
    value, fitted, found = gradient(small)
    assert fitted <= 3 or max(small.seen[-5:]) <= 3
    whole, _, expected = gradient(Small())
    assert value == pytest.approx(whole, rel=1e-6)
    assert torch.allclose(found, expected, atol=1e-7)


def test_where_no_sample_fits_the_operator_is_told():
    with pytest.raises(Misconfigured, match="one sample does not fit into the memory of cpu"):
        gradient(Small(most=0))


def test_other_errors_are_not_taken_for_memorys():
    class Broken(Small):
        def forward(self, x):
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        gradient(Broken())


def test_a_training_goes_on_in_parts_and_says_so_once(blobs):
    limits = Limits(max_epochs=5, max_batch_size=64, max_seconds=60)
    recipe = Training(epochs=3, batch_size=20, learning_rate=0.1)
    tight = train(Small(most=6), blobs, recipe, limits, device=CPU, seed=1)
    roomy = train(Small(), blobs, recipe, limits, device=CPU, seed=1)
    assert np.allclose(tight.delta, roomy.delta, atol=1e-5)
    assert tight.limited == ["batches computed in parts of 5: more did not fit into the memory of cpu"]
    assert roomy.limited == []


def test_reduced_precision_comes_near_and_leaves_weights_in_float32():
    _, _, exact = gradient(Small())
    module = Small()
    _, _, rough = gradient(module, precision=torch.bfloat16)
    assert rough.dtype == torch.float32
    assert not torch.equal(rough, exact)
    assert torch.allclose(rough, exact, atol=0.02)


def test_a_cpu_computes_in_full_precision():
    assert reduced_precision(CPU) is None
