import sys

import numpy as np
import pytest
import torch

from pipeline.errors import Misconfigured, Rejected
from pipeline.learning.augmentation import TRANSFORMS, Augmentation, augmentation_problems
from pipeline.learning.data.datasets import Dataset, Samples
from pipeline.learning.data.description import Description
from pipeline.learning.training import Limits, train
from pipeline.protocol.task import Training, Transform

SHAPE = (1, 8, 8)
FLIP = Transform(name="RandFlip", kwargs={"prob": 1, "spatial_axis": 1})
NOISE = Transform(name="RandGaussianNoise", kwargs={"prob": 1, "std": 0.5})
LIMITS = Limits(max_epochs=10, max_batch_size=64, max_seconds=60)
KWARGS = {
    "RandFlip": {"spatial_axis": 0},
    "RandRotate": {"range_x": 0.3},
    "RandZoom": {"min_zoom": 0.8, "max_zoom": 1.2},
    "RandGaussianNoise": {"std": 0.2},
    "RandGaussianSmooth": {},
    "RandShiftIntensity": {"offsets": 0.2},
    "RandScaleIntensity": {"factors": 0.2},
}


def images(count: int = 24) -> np.ndarray:
    return np.random.default_rng(1).random((count, *SHAPE)).astype(np.float32)


def dataset(description: Description | None = None) -> Dataset:
    x, y = images(), np.arange(24) % 2
    part = lambda rows: Samples(x=x, y=y, rows=rows)  # noqa: E731
    return Dataset(
        digest="",
        everything=part(np.arange(24)),
        training=part(np.arange(16)),
        held_back=part(np.arange(16, 24)),
        description=description or Description(),
    )


def trained(training: Training, data: Dataset | None = None, **options):
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2))
    return train(module, data or dataset(), training, LIMITS, device=torch.device("cpu"), seed=5, **options)


def test_a_flip_turns_every_image() -> None:
    augment = Augmentation([FLIP], SHAPE)
    augment.begin(1)
    np.testing.assert_array_equal(augment(images()), images()[..., ::-1])


@pytest.mark.parametrize("name", TRANSFORMS)
def test_every_transform_that_may_be_named_changes_images_and_keeps_their_shape(name: str) -> None:
    transform = Transform(name=name, kwargs={"prob": 1, **KWARGS[name]})
    assert augmentation_problems([transform]) == []
    augment, before = Augmentation([transform], SHAPE), images()
    augment.begin(3)
    made = augment(before)
    assert made.shape == before.shape
    assert made.dtype == np.float32
    assert not np.array_equal(made, before)
    np.testing.assert_array_equal(before, images())


def test_the_same_seed_gives_the_same_changes_and_another_one_others() -> None:
    augment = Augmentation([NOISE], SHAPE)
    made = []
    for seed in (1, 1, 2):
        augment.begin(seed)
        made.append(augment(images()))
    np.testing.assert_array_equal(made[0], made[1])
    assert not np.array_equal(made[0], made[2])


@pytest.mark.parametrize(
    ("name", "kwargs", "message"),
    [
        ("RandElastic", {}, "is unknown; there are: RandFlip"),
        ("LoadImage", {"reader": "x"}, "is unknown"),
        ("RandFlip", {"axis": 1}, "takes prob, spatial_axis"),
        ("RandFlip", {"spatial_axis": 2}, "a whole number from 0 to 1"),
        ("RandFlip", {"spatial_axis": 0.5}, "a whole number"),
        ("RandFlip", {"prob": True}, "a number from 0 to 1"),
        ("RandZoom", {"max_zoom": 1e9}, "from 1 to 10"),
        ("RandZoom", {"max_zoom": "big"}, "got 'big'"),
        ("RandGaussianNoise", {"std": float("nan")}, "from 0 to 10"),
        ("RandShiftIntensity", {}, "needs offsets"),
    ],
)
def test_what_may_not_be_asked_for_is_refused(name: str, kwargs: dict, message: str) -> None:
    with pytest.raises(Rejected, match=message):
        trained(Training(augmentation=[Transform(name=name, kwargs=kwargs)]))


def test_more_transforms_than_a_sample_bears_are_refused() -> None:
    with pytest.raises(Rejected, match="at most 16"):
        trained(Training(augmentation=[FLIP] * 17))


def test_samples_that_are_no_images_are_refused(blobs) -> None:
    with pytest.raises(Rejected, match="for images"):
        trained(Training(augmentation=[FLIP]), blobs)


def test_training_without_monai_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "monai", None)
    with pytest.raises(Misconfigured, match="flfleet\\[monai\\]"):
        trained(Training(augmentation=[FLIP]))


def test_a_resumed_epoch_repeats_its_changes() -> None:
    kept: list[bytes] = []
    training = Training(epochs=3, batch_size=4, augmentation=[NOISE])
    whole = trained(training, save=lambda make: kept.append(make()))
    resumed = trained(training, resume=kept[0])
    assert resumed.metrics[1]["loss"] == whole.metrics[1]["loss"]
    assert resumed.metrics[2]["loss"] == whole.metrics[2]["loss"]


def test_held_back_samples_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    real = Augmentation.__call__
    monkeypatch.setattr(Augmentation, "__call__", lambda self, x: (seen.append(len(x)), real(self, x))[1])
    trained(Training(epochs=1, batch_size=8, augmentation=[FLIP]))
    assert sum(seen) == 16


def test_the_operators_word_wins_over_the_tasks() -> None:
    task = Training(augmentation=[NOISE], class_weights="balanced")
    assert Description().wishes(task) == task
    changed = Description(augmentation=[], class_weights=[1.0, 2.0]).wishes(task)
    assert (changed.augmentation, changed.class_weights) == ([], [1.0, 2.0])
    plain, without = trained(Training(epochs=1)), trained(task, dataset(Description(augmentation=[])))
    assert without.losses != trained(task).losses
    assert plain.epochs == without.epochs


def test_what_the_operator_wants_of_a_training_does_not_change_a_data_sets_digest() -> None:
    assert Description(augmentation=[FLIP], class_weights="balanced").prepares() == Description().prepares()
    assert Description(classes=3).prepares() != Description().prepares()
