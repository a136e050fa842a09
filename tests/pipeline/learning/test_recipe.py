import math
from dataclasses import replace

import msgspec
import numpy as np
import pytest
import torch
from torch.nn import functional

from pipeline.errors import Rejected
from pipeline.learning.models.architectures import build
from pipeline.learning.models.checkpoints import flatten
from pipeline.learning.recipe import LOSSES, SCHEDULES, Loss, make_optimiser, problems
from pipeline.learning.training import Limits, train
from pipeline.protocol.task import Architecture, Task, Training
from pipeline.stages.train import unknown_members
from tests.learning_jobs import make_task

LIMITS = Limits(max_epochs=50, max_batch_size=128, max_seconds=60)
BASE = Training(epochs=3, batch_size=16, learning_rate=0.1)


def trained(dataset, limits=LIMITS, *, save=lambda _checkpoint: None, resume=None, **changes):
    torch.manual_seed(0)
    module = build(Architecture(name="linear", kwargs={"in_features": 6, "num_classes": 3}))
    recipe = msgspec.structs.replace(BASE, **changes)
    return train(module, dataset, recipe, limits, device=torch.device("cpu"), seed=5, save=save, resume=resume)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"schedule": "warm"}, "schedule 'warm' is unknown; there are: constant, linear, cosine"),
        ({"loss": "hinge"}, "loss 'hinge' is unknown; there are: cross_entropy, focal"),
        ({"momentum": 1.0}, "momentum must be from 0 to below 1"),
        ({"momentum": 0.9, "optimizer": "adam"}, "momentum .* is sgd's alone"),
        ({"weight_decay": -1.0}, "weightDecay must be from 0"),
        ({"proximal": math.nan}, "proximal must be from 0"),
        ({"clip_norm": 0.0}, "clipNorm must be above 0"),
        ({"clip_norm": math.inf}, "clipNorm must be above 0"),
        ({"patience": 0}, "patience must be at least 1"),
        ({"class_weights": "fair"}, "classWeights must be a list or 'balanced', got 'fair'"),
        ({"class_weights": []}, "classWeights must be from 0"),
        ({"class_weights": [0.0, 0.0, 0.0]}, "one of them above 0"),
        ({"class_weights": [1.0, -1.0, 1.0]}, "classWeights must be from 0"),
        ({"class_weights": [1.0, math.nan, 1.0]}, "classWeights must be from 0"),
        ({"class_weights": [1.0, 1.0]}, "classWeights are 2, the model has 3 classes"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(blobs, changes, reason):
    with pytest.raises(Rejected, match=reason):
        trained(blobs, **changes)


def test_every_reason_is_told_at_once():
    assert len(problems(Training(schedule="a", loss="b", momentum=2.0, learning_rate=0.0, epochs=0))) == 5
    assert problems(Training()) == []


def test_the_wire_names_are_camel_case_and_unknown_members_are_kept_and_told():
    members = {
        "epochs": 2,
        "weightDecay": 0.1,
        "clipNorm": 1.5,
        "classWeights": [1.0, 2.0],
        "mixup": 0.2,
        "augment": [],
    }
    task: Task = make_task(training=members)
    assert (task.training.weight_decay, task.training.clip_norm) == (0.1, 1.5)
    assert task.training.class_weights == [1.0, 2.0]
    assert task.document["training"] == members
    assert unknown_members(task.document["training"]) == ["augment", "mixup"]
    assert unknown_members(None) == []


@pytest.mark.parametrize(
    ("name", "expected"), [("constant", [1, 1, 1]), ("linear", [1, 0.5, 0]), ("cosine", [1, 0.5, 0])]
)
def test_schedules_go_from_whole_to_their_end(name, expected):
    assert [SCHEDULES[name](done) for done in (0.0, 0.5, 1.0)] == pytest.approx(expected)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_a_schedule_lowers_the_rate_step_by_step(blobs, schedule):
    rates = [epoch["learningRate"] for epoch in trained(blobs, schedule=schedule).metrics]
    assert rates == sorted(rates, reverse=True)
    assert 0 < rates[-1] < rates[0] < 0.1


@pytest.mark.parametrize("changes", [{"schedule": "cosine"}, {"proximal": 1.0}, {"momentum": 0.9}, {"patience": 2}])
def test_a_resumed_training_ends_where_a_whole_one_does(blobs, changes):
    kept = []
    whole = trained(blobs, save=lambda make: kept.append(make()), **changes)
    assert len(kept) == 2
    for checkpoint in kept:
        assert np.array_equal(trained(blobs, resume=checkpoint, **changes).delta, whole.delta)


def test_every_epochs_metrics_are_kept(blobs):
    result = trained(blobs)
    assert [set(epoch) for epoch in result.metrics] == [
        {"loss", "heldLoss", "heldAccuracy", "learningRate", "seconds"}
    ] * 3
    assert result.metrics[-1]["heldAccuracy"] == result.accuracy
    nothing = replace(blobs.held_back, rows=np.empty(0, dtype=np.int64))
    assert trained(replace(blobs, held_back=nothing)).metrics[0]["heldLoss"] is None


def test_fedprox_holds_the_weights_near_the_rounds_model(blobs):
    free, held = trained(blobs), trained(blobs, proximal=5.0)
    assert np.linalg.norm(held.delta) < 0.5 * np.linalg.norm(free.delta)


def test_fedproxs_gradient_is_that_of_its_term(blobs):
    """One step on one batch, by hand: w1 = w0 - lr g(w0), w2 = w1 - lr (g(w1) + mu (w1 - w0))."""
    two = {"epochs": 2, "batch_size": 90}
    one, plain, prox = (
        trained(blobs, epochs=1, batch_size=90),
        trained(blobs, **two),
        trained(blobs, proximal=2.0, **two),
    )
    assert np.allclose(prox.delta, plain.delta - 0.1 * 2.0 * one.delta, atol=1e-6)


def test_clipping_bounds_a_step(blobs):
    step = trained(blobs, epochs=1, batch_size=90, clip_norm=0.01).delta
    assert np.linalg.norm(step) == pytest.approx(0.1 * 0.01, rel=1e-3)


def test_weight_decay_pulls_towards_zero(blobs):
    torch.manual_seed(0)
    w_old = flatten(build(Architecture(name="linear", kwargs={"in_features": 6, "num_classes": 3})).state_dict())
    assert np.linalg.norm(w_old - trained(blobs, weight_decay=1.0).delta) < np.linalg.norm(w_old - trained(blobs).delta)


def test_a_training_that_gets_no_better_ends(blobs):
    shuffled = np.random.default_rng(0).permutation(blobs.everything.y)
    noise = replace(blobs, training=replace(blobs.training, y=shuffled))
    result = trained(noise, epochs=50, patience=2, learning_rate=0.5)
    assert result.epochs < 50
    held = [epoch["heldLoss"] for epoch in result.metrics]
    assert held.index(min(held)) == len(held) - 3
    assert result.limited == [f"ended after epoch {result.epochs} of 50: no better in 2 epochs (patience)"]


def test_patience_without_a_held_back_part_is_told(blobs):
    nothing = replace(blobs.held_back, rows=np.empty(0, dtype=np.int64))
    result = trained(replace(blobs, held_back=nothing), patience=1)
    assert result.epochs == 3
    assert result.limited == ["patience is of no use here: no sample is held back"]


def test_a_loss_is_torchs_weighted_mean():
    logits, y = torch.randn(7, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 1, 1, 2, 2, 0])
    for weights in (None, [0.5, 2.0, 0.0]):
        summed, weight = Loss(Training(class_weights=weights), y.numpy()).parts(logits, y)
        wanted = functional.cross_entropy(logits, y, weight=None if weights is None else torch.tensor(weights))
        assert float(summed / weight) == pytest.approx(float(wanted), rel=1e-6)


def test_balanced_weights_give_every_class_the_same_sum():
    y = np.array([0] * 8 + [1] * 2)
    weights = Loss(Training(class_weights="balanced"), y).weights(3)
    assert weights is not None
    assert weights[0] * 8 == pytest.approx(weights[1] * 2)
    assert np.isfinite(weights).all()


def test_balanced_weights_help_a_rare_class(blobs):
    rare = blobs.training.rows[(blobs.training.y[blobs.training.rows] != 2) | (blobs.training.rows < 6)]
    skewed = replace(blobs, training=replace(blobs.training, rows=rare))
    one = {"epochs": 1, "learning_rate": 0.02}
    assert (
        trained(skewed, class_weights="balanced", **one).metrics[-1]["heldLoss"]
        < trained(skewed, **one).metrics[-1]["heldLoss"]
    )


def test_focal_loss_looks_away_from_what_is_sure():
    logits = torch.tensor([[4.0, 0.0], [0.2, 0.0]])
    y = torch.tensor([0, 0])
    plain, focal = LOSSES["cross_entropy"](logits, y), LOSSES["focal"](logits, y)
    p = torch.softmax(logits, 1)[:, 0]
    assert torch.allclose(focal, (1 - p) ** 2 * plain)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_an_optimiser_gets_what_it_takes(name):
    momentum = 0.9 if name == "sgd" else 0.0
    made = make_optimiser(
        torch.nn.Linear(2, 2).parameters(), Training(optimizer=name, weight_decay=0.1, momentum=momentum)
    )
    assert made.param_groups[0]["weight_decay"] == 0.1
