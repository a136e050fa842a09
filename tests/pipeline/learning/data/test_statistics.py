"""Batch norm in a federation: its statistics move further than weights, and a network without good ones is right nowhere."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.aggregation.support import next_support
from pipeline.learning.compression import compress, wish
from pipeline.learning.data.datasets import Dataset, Samples
from pipeline.learning.data.statistics import calibrate, keep_positive, statistics_of
from pipeline.learning.evaluation import accuracy
from pipeline.learning.models.architectures import build
from pipeline.learning.models.checkpoints import dimension_of, flatten, with_flat
from pipeline.learning.proposal import propose
from pipeline.learning.training import Limits, train
from pipeline.learning.update import apply_update
from pipeline.protocol.encodings import indices_from_bitmap
from pipeline.protocol.task import Architecture, Training
from pipeline.stages.compress import without_statistics

CPU = torch.device("cpu")
LIMITS = Limits(max_epochs=10, max_batch_size=64, max_seconds=60)
TRAINING = Training(epochs=2, batch_size=16, learning_rate=0.1)
MINERS, CLASSES, ROUNDS, RATIO = 3, 4, 4, 0.3


def network() -> nn.Sequential:
    torch.manual_seed(2)
    layers: list[nn.Module] = []
    for inputs, outputs in ((1, 8), (8, 8), (8, 8)):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(8 * 36, CLASSES))


def images(seed: int, count: int) -> Samples:
    """Grey images of four patterns in much noise, far from zero mean and unit variance."""
    rng = np.random.default_rng(seed)
    patterns = np.random.default_rng(99).normal(size=(CLASSES, 1, 6, 6))
    y = rng.integers(0, CLASSES, count)
    x = (20 + 4 * (patterns[y] + 1.5 * rng.normal(size=(count, 1, 6, 6)))).astype(np.float32)
    return Samples(x=x, y=y, rows=np.arange(count))


def dataset(seed: int) -> Dataset:
    samples = images(seed, 96)
    nothing = Samples(x=samples.x, y=samples.y, rows=samples.rows[:0])
    return Dataset(digest="", everything=samples, training=samples, held_back=nothing)


def federation(module: nn.Module, scale: int | None, clip: float) -> float:
    """Accuracy after the last round; `scale` None: plain averages of floating-point updates."""
    miners = [dataset(seed) for seed in range(MINERS)]
    statistics, state = statistics_of(module), module.state_dict()
    w, support = flatten(state), None
    residuals: list[np.ndarray | None] = [None] * MINERS
    for number in range(1, ROUNDS + 1):
        deltas, sent, wishes = [], [], []
        for miner, data in enumerate(miners):
            module.load_state_dict(with_flat(state, w))
            delta = train(module, data, TRAINING, LIMITS, device=CPU, seed=10 * number + miner).delta
            deltas.append(delta)
            if scale is None:
                continue
            delta = keep_positive(delta, w, statistics, scale)
            made = compress(
                delta, without_statistics(residuals[miner], statistics.spans), support, scale=scale, clip=clip
            )
            residuals[miner] = made.residual
            sent.append(made.values.astype(np.int64))
            wishes.append(wish(made.residual, delta, RATIO))
        if scale is None:
            w = (w - np.mean(deltas, axis=0)).astype(np.float32)
            continue
        w = apply_update(w, np.sum(sent, axis=0), support, MINERS, scale)
        support = indices_from_bitmap(next_support("t", number + 1, len(w), RATIO, wishes), len(w), "support")
    module.load_state_dict(with_flat(state, w))
    return accuracy(module, images(50, 400))


@pytest.mark.slow
def test_a_pilots_statistics_and_clip_keep_the_accuracy_that_fresh_ones_and_the_weights_clip_lose() -> None:
    started = network()
    calibrate(started, dataset(MINERS).training)
    first = train(copy.deepcopy(started), dataset(MINERS), TRAINING, LIMITS, device=CPU, seed=1).delta
    proposal = propose(first, statistics_of(started).mask(len(first)))
    dense = federation(network(), None, 0)
    starved = federation(network(), proposal.scale, 3 / proposal.scale)
    piloted = federation(started, proposal.scale, proposal.clip)
    assert dense > 0.9
    assert starved < dense - 0.1
    assert piloted > dense - 0.05


def test_statistics_are_found_by_their_place_among_the_floating_point_values() -> None:
    module = network()
    found = statistics_of(module)
    assert found.spans == [(88, 104), (696, 712), (1304, 1320)]
    assert found.variances == [(96, 104), (704, 712), (1312, 1320)]
    mask, flat = found.mask(dimension_of(module.state_dict())), flatten(module.state_dict())
    assert flat[mask].tolist() == ([0.0] * 8 + [1.0] * 8) * 3


def test_a_network_without_batch_norm_has_none() -> None:
    assert statistics_of(build(Architecture(name="cnn"))).spans == []


def test_calibrating_gives_a_network_the_statistics_of_its_data_and_leaves_weights_and_momentum() -> None:
    module, samples = network(), images(3, 256)
    weights = [parameter.detach().clone() for parameter in module.parameters()]
    calibrate(module, samples)
    inner = module[0](torch.from_numpy(samples.x))
    torch.testing.assert_close(module[1].running_mean, inner.mean((0, 2, 3)), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(module[1].running_var, inner.var((0, 2, 3)), rtol=0.05, atol=0.05)
    assert module[1].momentum == 0.1
    assert all(torch.equal(before, after) for before, after in zip(weights, module.parameters(), strict=True))


@pytest.mark.parametrize("variance", [1e-4, 0.01, 0.039, 0.04, 0.5, 30.0])
def test_no_rounding_makes_a_variance_zero_or_negative(variance: float) -> None:
    module = network()
    module[1].running_var.fill_(variance)
    w, scale = flatten(module.state_dict()), 50
    delta = np.full_like(w, 100.0)
    made = compress(keep_positive(delta, w, statistics_of(module), scale), None, None, scale=scale, clip=100.0)
    new = apply_update(w, made.values.astype(np.int64) * MINERS, None, MINERS, scale)
    assert (new[96:104] >= variance / 2 * (1 - 1e-6)).all()


def test_what_a_round_left_of_the_statistics_is_not_sent_twice() -> None:
    residual = np.ones(6, np.float32)
    kept = without_statistics(residual, [[1, 3], [5, 6]])
    assert kept is not None
    assert kept.tolist() == [1, 0, 0, 1, 1, 0]
    assert without_statistics(None, [[1, 3]]) is None
