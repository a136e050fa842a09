"""Differential privacy by real trainings with Opacus."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.errors import Misconfigured, Rejected
from pipeline.learning.models.architectures import build
from pipeline.learning.training import Limits, train
from pipeline.protocol.task import Architecture, Privacy, Training

LIMITS = Limits(max_epochs=50, max_batch_size=64, max_seconds=60)
DP = Privacy(noise=1.0, clip=1.0, delta=1e-3)
PRIVATE = Training(epochs=4, batch_size=18, learning_rate=0.5, dp=DP)


def trained(dataset, training=PRIVATE, limits=LIMITS, module=None, seed=3, **options):
    torch.manual_seed(0)
    module = module or build(Architecture(name="linear", kwargs={"in_features": 6, "num_classes": 3}))
    return train(module, dataset, training, limits, device=torch.device("cpu"), seed=seed, **options)


def test_a_private_training_learns_and_says_what_it_spent(blobs):
    result = trained(blobs)
    assert result.accuracy > 0.9
    assert result.privacy == {
        "epsilon": result.privacy["epsilon"],
        "delta": 1e-3,
        "noise": 1.0,
        "clip": 1.0,
        "steps": 20,
        "samplingRate": 0.2,
        "samples": 90,
    }
    assert 1 < result.privacy["epsilon"] < 10
    spent = [epoch["epsilon"] for epoch in result.metrics]
    assert spent == sorted(spent)
    assert spent[-1] == result.privacy["epsilon"]


def test_epsilon_is_that_of_an_accountant_of_its_own(blobs):
    from opacus.accountants import PRVAccountant

    other = PRVAccountant()
    other.history = [(1.0, 0.2, 20)]
    tight, ours = other.get_epsilon(1e-3), trained(blobs).privacy["epsilon"]
    assert tight * 0.99 <= ours <= tight * 1.5


def test_more_noise_spends_less_and_hides_what_was_learnt(blobs):
    loud = trained(
        blobs, Training(epochs=4, batch_size=18, learning_rate=0.5, dp=Privacy(noise=50, clip=1, delta=1e-3))
    )
    assert loud.privacy["epsilon"] < 0.2
    assert np.linalg.norm(loud.delta) > 3 * np.linalg.norm(trained(blobs).delta)


def test_one_sample_moves_the_sum_by_no_more_than_the_clip(blobs):
    """Without noise to speak of: a batch of every sample, one step, with and without one of them."""
    quiet = Privacy(noise=1e-6, clip=0.5, delta=1e-3)
    one = Training(epochs=1, batch_size=90, learning_rate=1.0, dp=quiet)
    limits = replace(LIMITS, max_batch_size=90)
    odd = blobs.training.x.copy()
    odd[blobs.training.rows[0]] = 1e4
    changed = replace(blobs, training=replace(blobs.training, x=odd))
    difference = trained(blobs, one, limits).delta - trained(changed, one, limits).delta
    assert 0 < np.linalg.norm(difference) * 90 <= 2 * 0.5 + 1e-3


def test_a_resumed_training_goes_on_with_the_account(blobs):
    kept: list[bytes] = []
    whole = trained(blobs, save=lambda make: kept.append(make()))
    resumed = trained(blobs, resume=kept[1])
    assert resumed.privacy == whole.privacy
    np.testing.assert_allclose(resumed.losses, whole.losses, rtol=1e-6)


def test_a_small_memory_changes_nothing_of_the_step(blobs):
    assert np.isfinite(trained(blobs, limits=replace(LIMITS, max_batch_size=5)).delta).all()


def test_batches_may_be_empty(blobs):
    result = trained(blobs, Training(epochs=1, batch_size=1, learning_rate=0.01, dp=DP))
    assert result.privacy["steps"] == 90
    assert np.isfinite(result.delta).all()


def test_an_operator_may_bound_epsilon_and_the_training_does_not_begin_beyond_it(blobs):
    with pytest.raises(Rejected, match=r"would spend epsilon .*FLFLEET_MAX_EPSILON"):
        trained(blobs, limits=replace(LIMITS, max_epsilon=0.5))
    assert trained(blobs, limits=replace(LIMITS, max_epsilon=50)).privacy["epsilon"] < 50


def test_an_operator_who_bounds_epsilon_refuses_a_training_without_privacy(blobs):
    with pytest.raises(Rejected, match="has no dp"):
        trained(blobs, Training(), replace(LIMITS, max_epsilon=5))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dp": Privacy(noise=0, clip=1)}, "noise must be above 0"),
        ({"dp": Privacy(noise=1, clip=float("nan"))}, "clip must be above 0"),
        ({"dp": Privacy(noise=1, clip=1, delta=1)}, "delta must be above 0 and below 1"),
        ({"dp": Privacy(noise=1, clip=1, delta=0.5)}, "no promise for 90 samples"),
        ({"dp": DP, "class_weights": "balanced"}, "does not go with classWeights"),
        ({"dp": DP, "patience": 2}, "does not go with patience"),
    ],
)
def test_what_breaks_the_promise_is_refused(blobs, changes, message):
    with pytest.raises(Rejected, match=message):
        trained(blobs, Training(**changes))


def test_batch_norm_mixes_samples_and_is_refused(blobs):
    module = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 3))
    with pytest.raises(Rejected, match="dp does not go with this network"):
        trained(blobs, module=module)


def test_a_missing_opacus_says_how_to_get_it(blobs, monkeypatch):
    monkeypatch.setitem(sys.modules, "opacus", None)
    with pytest.raises(Misconfigured, match=r"flfleet\[privacy\]"):
        trained(blobs)
