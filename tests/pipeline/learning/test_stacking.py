from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.errors import Corrupt, Misconfigured, Rejected
from pipeline.learning import stacking
from pipeline.learning.data.description import Description
from pipeline.learning.models.architectures import build
from pipeline.learning.stacking import Member, Unstackable, members_of_a_stack, obstacle, train_stack
from pipeline.learning.training import Limits, train
from pipeline.protocol.task import Architecture, Privacy, Training, Transform

LIMITS = Limits(max_epochs=10, max_batch_size=64, max_seconds=60)
FIVE = Training(epochs=5, batch_size=8, learning_rate=0.1)
CPU = torch.device("cpu")
LINEAR = Architecture(name="linear", kwargs={"in_features": 6, "num_classes": 3})
MLP = Architecture(name="mlp", kwargs={"in_features": 6, "hidden": 5, "num_classes": 3})
#: float32 sums in another order: the most that a weight's change, a loss or a share may differ by, beside alone.
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def network(number, architecture=LINEAR) -> nn.Module:
    torch.manual_seed(number)
    return build(architecture)


def networks(count=4, architecture=LINEAR) -> list[nn.Module]:
    return [network(number, architecture) for number in range(count)]


def stacked(dataset, training=FIVE, limits=LIMITS, *, modules=None, resume=None, **options):
    modules = modules or networks()
    resume = resume or [None] * len(modules)
    members = [Member(module=module, seed=index, resume=resume[index]) for index, module in enumerate(modules)]
    ended = {}
    for some in train_stack(members, dataset, training, limits, device=CPU, **options):
        assert not set(some) & set(ended)
        ended |= some
    return ended


def alone(dataset, index, training=FIVE, limits=LIMITS, *, architecture=LINEAR, **options):
    return train(network(index, architecture), dataset, training, limits, device=CPU, seed=index, **options)


def assert_alike(one, other):
    np.testing.assert_allclose(one.delta, other.delta, **CLOSE)
    assert one.epochs == other.epochs
    assert one.limited == other.limited
    for mine, its in zip(one.metrics, other.metrics, strict=True):
        for name in ("loss", "heldLoss", "heldAccuracy", "learningRate"):
            assert mine[name] == (None if its[name] is None else pytest.approx(its[name], rel=1e-4))
    assert one.accuracy == (None if other.accuracy is None else pytest.approx(other.accuracy))


RECIPES = {
    "sgd": {},
    "momentum": {"momentum": 0.9},
    "weight decay": {"weight_decay": 0.1},
    "adam": {"optimizer": "adam", "learning_rate": 0.02},
    "adamw": {"optimizer": "adamw", "learning_rate": 0.02, "weight_decay": 0.05},
    "cosine": {"schedule": "cosine"},
    "focal": {"loss": "focal"},
    "listed weights": {"class_weights": [1.0, 0.0, 3.0]},
    "balanced": {"class_weights": "balanced"},
    "proximal": {"proximal": 0.5},
    "clip": {"clip_norm": 0.05},
    "a last batch of one": {"batch_size": 89},
    "single samples": {"batch_size": 1, "epochs": 1},
}


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("architecture", [LINEAR, MLP], ids=["linear", "mlp"])
def test_each_is_trained_as_it_would_be_alone(blobs, architecture, recipe):
    training = Training(**{"epochs": 3, "batch_size": 8, "learning_rate": 0.1} | RECIPES[recipe])
    limits = replace(LIMITS, max_batch_size=100)
    ended = stacked(blobs, training, limits, modules=networks(4, architecture))
    assert sorted(ended) == [0, 1, 2, 3]
    for index, result in ended.items():
        assert_alike(result, alone(blobs, index, training, limits, architecture=architecture))
    assert not np.allclose(ended[0].delta, ended[1].delta, **CLOSE)


def test_a_convolution_is_trained_as_it_would_be_alone(blobs):
    images = np.random.default_rng(3).normal(size=(120, 1, 16, 16)).astype(np.float32)
    part = lambda samples: replace(samples, x=images)  # noqa: E731
    blobs = replace(blobs, training=part(blobs.training), held_back=part(blobs.held_back))
    architecture = Architecture(name="cnn", kwargs={"in_channels": 1, "num_classes": 3})
    training = Training(epochs=2, batch_size=16, learning_rate=0.05)
    ended = stacked(blobs, training, modules=networks(3, architecture))
    for index, result in ended.items():
        assert_alike(result, alone(blobs, index, training, architecture=architecture))


def test_without_seeds_no_two_are_alike(blobs):
    members = [Member(module=network(0)) for _ in range(2)]
    (ended,) = train_stack(members, blobs, FIVE, LIMITS, device=CPU)
    assert not np.allclose(ended[0].delta, ended[1].delta, **CLOSE)


def test_a_loss_that_is_not_finite_ends_its_own_training_alone(blobs):
    modules = networks()
    with torch.no_grad():
        modules[1].fc.weight.fill_(3e38)
    ended = stacked(blobs, replace_training(optimizer="adam", learning_rate=0.01), modules=modules)
    assert isinstance(ended[1], Rejected)
    assert "in epoch 1; the task's learning rate 0.01 is too high" in str(ended[1])
    for index in (0, 2, 3):
        assert_alike(ended[index], alone(blobs, index, replace_training(optimizer="adam", learning_rate=0.01)))


def test_where_none_is_finite_all_are_refused(blobs):
    modules = networks(2)
    for module in modules:
        module.fc.weight.data.fill_(3e38)
    ended = stacked(blobs, modules=modules)
    assert [type(ended[index]) for index in (0, 1)] == [Rejected, Rejected]


def test_weights_that_are_not_finite_are_refused_alone(blobs):
    modules = networks(2)
    with torch.no_grad():
        modules[1].fc.bias.fill_(torch.finfo(torch.float32).max)
    x = np.zeros_like(blobs.training.x)
    dataset = replace(blobs, training=replace(blobs.training, x=x))
    training = Training(epochs=1, batch_size=90, learning_rate=1e6, weight_decay=1e6)
    ended = stacked(dataset, training, replace(LIMITS, max_batch_size=90), modules=modules)
    assert not isinstance(ended[0], Rejected)
    assert "weights became NaN or infinite" in str(ended[1])


def replace_training(**changes) -> Training:
    return Training(**{"epochs": 5, "batch_size": 8, "learning_rate": 0.1} | changes)


def test_who_is_cancelled_leaves_and_the_others_go_on(blobs):
    seen = []

    def report(progress):
        seen.append(set(progress))
        return {2} if len(seen) == 2 else ()

    ended = stacked(blobs, replace_training(momentum=0.9), report=report)
    assert seen == [{0, 1, 2, 3}, {0, 1, 2, 3}, *[{0, 1, 3}] * 3]
    assert sorted(ended) == [0, 1, 3]
    for index, result in ended.items():
        assert_alike(result, alone(blobs, index, replace_training(momentum=0.9)))


def test_where_all_are_cancelled_nothing_is_left_to_do(blobs):
    saved = []
    assert stacked(blobs, report=lambda progress: list(progress), save=saved.append) == {}
    assert saved == []


def test_all_may_be_cancelled_in_the_middle_of_an_epoch(blobs, monkeypatch):
    monkeypatch.setattr(stacking, "REPORT_SECONDS", 0.0)
    assert stacked(blobs, report=lambda progress: list(progress)) == {}


def test_patience_ends_each_by_itself(blobs):
    noisy = blobs.everything.y.copy()
    np.random.default_rng(0).shuffle(noisy)
    dataset = replace(blobs, training=replace(blobs.training, y=noisy), held_back=replace(blobs.held_back, y=noisy))
    training = replace_training(epochs=10, patience=1)
    ended = stacked(dataset, training)
    for index, result in ended.items():
        assert_alike(result, alone(dataset, index, training))
    assert len({result.epochs for result in ended.values()}) > 1


@pytest.mark.parametrize("changes", [{}, {"momentum": 0.9}, {"optimizer": "adam", "learning_rate": 0.01}])
def test_a_stack_goes_on_from_its_members_checkpoints_and_so_does_one_alone(blobs, changes):
    training = replace_training(**changes)
    saved = []
    whole = stacked(
        blobs, training, save=lambda makers: saved.append({index: make() for index, make in makers.items()})
    )
    assert [sorted(some) for some in saved] == [[0, 1, 2, 3]] * 4
    # As in another process: the networks are read afresh.
    again = stacked(blobs, training, resume=saved[1])
    for index, result in again.items():
        assert_alike(result, whole[index])
        assert_alike(alone(blobs, index, training, resume=saved[1][index]), whole[index])
    its = []
    alone(blobs, 0, training, save=lambda make: its.append(make()))
    mixed = stacked(blobs, training, modules=[network(0)], resume=[its[1]])
    assert_alike(mixed[0], whole[0])


def test_a_checkpoint_that_is_none_is_corrupt(blobs):
    with pytest.raises(Corrupt, match="checkpoint"):
        stacked(blobs, modules=[network(0)], resume=[b"none"])


def test_the_operators_limits_are_the_stacks(blobs):
    ended = stacked(blobs, replace_training(epochs=99), replace(LIMITS, max_epochs=2))
    assert {tuple(result.limited) for result in ended.values()} == {
        ("99 epochs asked for, 2 done (FLFLEET_MAX_EPOCHS)",)
    }
    ended = stacked(blobs, limits=replace(LIMITS, max_seconds=0.0))
    assert {tuple(result.limited) for result in ended.values()} == {("stopped in epoch 1 of 5 after 0 s",)}
    assert all(result.delta.any() for result in ended.values())


def test_without_a_held_back_part_there_is_no_accuracy(blobs):
    nothing = replace(blobs.held_back, rows=np.empty(0, dtype=np.int64))
    assert {result.accuracy for result in stacked(replace(blobs, held_back=nothing)).values()} == {None}


def test_nothing_to_learn_from(blobs):
    nothing = replace(blobs.training, rows=np.empty(0, dtype=np.int64))
    with pytest.raises(Misconfigured, match="FLFLEET_VALIDATION_SHARE"):
        stacked(replace(blobs, training=nothing))


def test_reduced_precision_trains_too(blobs):
    ended = stacked(blobs, precision=torch.bfloat16)
    assert {result.accuracy for result in ended.values()} == {1.0}


class Shaped(nn.Module):
    """A network of one layer with something in between."""

    KINDS: ClassVar = {
        "batch norm": lambda: nn.BatchNorm1d(6),
        "dropout": lambda: nn.Dropout(0.5),
        "noise": lambda: Noise(),
        "dropout that drops nothing": lambda: nn.Dropout(0.0),
    }

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.between = self.KINDS[kind]()
        self.fc = nn.Linear(6, 3)

    def forward(self, x):
        return self.fc(self.between(x))


class Noise(nn.Module):
    def forward(self, x):
        return x + torch.rand_like(x)


@pytest.mark.parametrize(
    ("module", "training", "reason"),
    [
        (Shaped("batch norm"), FIVE, "batch norm"),
        (Shaped("dropout"), FIVE, "dropout"),
        (nn.Linear(6, 3).half(), FIVE, "float32"),
        (nn.Linear(6, 3), replace_training(dp=Privacy(noise=1.0, clip=1.0)), "single samples"),
        (nn.Linear(6, 3), replace_training(augmentation=[Transform(name="RandFlip")]), "image by image"),
        (Shaped("dropout that drops nothing"), FIVE, None),
        (nn.Linear(6, 3), FIVE, None),
    ],
)
def test_what_cannot_be_stacked_is_known_beforehand(module, training, reason):
    found = obstacle(module, training)
    assert found is None if reason is None else reason in str(found)


def test_what_is_known_beforehand_is_refused(blobs):
    with pytest.raises(Unstackable, match="batch norm"):
        stacked(blobs, modules=[Shaped("batch norm") for _ in range(2)])


def test_what_torch_cannot_stack_is_found_while_it_is_tried(blobs):
    assert obstacle(Shaped("noise"), FIVE) is None
    with pytest.raises(Unstackable, match="torch cannot stack it: vmap"):
        stacked(blobs, modules=[Shaped("noise") for _ in range(2)])


def test_a_lack_of_memory_is_no_members_fault(blobs, monkeypatch):
    def full(*_arguments):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(stacking._Stack, "_logits", full)
    with pytest.raises(Unstackable, match="out of memory"):
        stacked(blobs)


def test_the_operators_word_about_a_data_set_counts_for_a_stack(blobs):
    flipped = replace_training(augmentation=[Transform(name="RandFlip")])
    with pytest.raises(Unstackable, match="image by image"):
        stacked(blobs, flipped)
    assert len(stacked(replace(blobs, description=Description(augmentation=[])), flipped)) == 4


def test_a_stack_holds_as_many_as_fit_and_large_networks_stay_alone():
    assert members_of_a_stack(21, 800_000) == stacking.MOST_MEMBERS
    assert members_of_a_stack(25_450, 800_000) == 31
    assert members_of_a_stack(100_000, 800_000) == stacking.FEWEST_MEMBERS
    assert members_of_a_stack(100_001, 800_000) == 1
    assert members_of_a_stack(21, 0) == 1
