import secrets
from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.errors import Corrupt, Misconfigured, Rejected
from pipeline.learning import training as loop
from pipeline.learning.devices import choose_device
from pipeline.learning.evaluation import accuracy
from pipeline.learning.models.architectures import build
from pipeline.learning.models.checkpoints import flatten
from pipeline.learning.training import OPTIMIZERS, Limits, batches_of, train
from pipeline.protocol.task import Architecture, Training

LIMITS = Limits(max_epochs=10, max_batch_size=64, max_seconds=60)
FIVE = Training(epochs=5, batch_size=8, learning_rate=0.1)
LIMITS_OF_90 = replace(LIMITS, max_batch_size=90)
CPU = torch.device("cpu")


def network():
    torch.manual_seed(0)
    return build(Architecture(name="linear", kwargs={"in_features": 6, "num_classes": 3}))


def trained(dataset, training=FIVE, limits=LIMITS, module=None, **options):
    return train(module or network(), dataset, training, limits, device=CPU, **options)


@pytest.mark.parametrize(("name", "rate"), [("sgd", 0.1), ("adam", 0.05), ("adamw", 0.05)])
def test_every_optimiser_learns(blobs, name, rate):
    result = trained(blobs, Training(epochs=5, batch_size=8, optimizer=name, learning_rate=rate))
    assert result.accuracy == 1.0
    assert result.losses[-1] < result.losses[0]
    assert result.epochs == len(result.losses) == 5
    assert result.limited == []
    assert set(OPTIMIZERS) == {"sgd", "adam", "adamw"}


def test_delta_is_old_minus_new(blobs):
    module = network()
    old = flatten(module.state_dict())
    result = trained(blobs, module=module)
    assert np.array_equal(result.delta, old - flatten(module.state_dict()))
    assert result.delta.dtype == np.float32


def test_the_held_back_part_is_not_learnt_from(blobs):
    poisoned = blobs.everything.x.copy()
    poisoned[blobs.held_back.rows] = np.nan
    clean = trained(blobs, seed=1)
    other = trained(replace(blobs, training=replace(blobs.training, x=poisoned)), seed=1)
    assert np.array_equal(clean.delta, other.delta)


def test_a_seed_repeats_a_training_and_without_one_none_is_like_another(blobs):
    assert np.array_equal(trained(blobs, seed=7).delta, trained(blobs, seed=7).delta)
    assert not np.array_equal(trained(blobs, seed=7).delta, trained(blobs, seed=8).delta)
    torch.manual_seed(0)
    first = trained(blobs).delta
    torch.manual_seed(0)
    assert not np.array_equal(first, trained(blobs).delta)


def test_fresh_randomness_comes_from_the_system(blobs, monkeypatch):
    asked = []
    monkeypatch.setattr(secrets, "randbits", lambda bits: asked.append(bits) or 5)
    assert np.array_equal(trained(blobs).delta, trained(blobs, seed=5).delta)
    assert asked == [128]


def test_progress_is_reported_after_every_epoch(blobs, monkeypatch):
    monkeypatch.setattr(loop, "REPORT_SECONDS", float("inf"))
    seen = []
    result = trained(blobs, report=seen.append)
    assert seen == [{"epoch": number + 1, "epochs": 5, "loss": result.losses[number]} for number in range(5)]


def test_a_long_epoch_reports_between_its_batches(blobs, monkeypatch):
    monkeypatch.setattr(loop, "REPORT_SECONDS", 0.0)
    seen = []
    trained(blobs, replace_training(FIVE, epochs=1, batch_size=30), report=seen.append)
    assert [progress["epoch"] for progress in seen] == [0, 0, 0, 1]


def test_what_report_raises_ends_the_training(blobs):
    def stop(progress):
        raise InterruptedError

    with pytest.raises(InterruptedError):
        trained(blobs, report=stop)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_training_goes_on_from_any_epochs_checkpoint(blobs, optimizer):
    task = replace_training(FIVE, optimizer=optimizer)
    checkpoints = []
    whole = trained(blobs, task, seed=3, save=lambda make: checkpoints.append(make()))
    assert len(checkpoints) == 4
    for checkpoint in checkpoints:
        resumed = trained(blobs, task, seed=3, resume=checkpoint)
        assert np.array_equal(resumed.delta, whole.delta)
        assert resumed.losses == whole.losses


def replace_training(training, **changes):
    names = ("epochs", "batch_size", "optimizer", "learning_rate")
    return Training(**({name: getattr(training, name) for name in names} | changes))


@pytest.mark.parametrize("cut", [0, 10, 500])
def test_a_damaged_checkpoint_is_corrupt(blobs, cut):
    checkpoints = []
    trained(blobs, save=lambda make: checkpoints.append(make()))
    with pytest.raises(Corrupt, match="checkpoint"):
        trained(blobs, resume=checkpoints[0][:cut])


def test_the_operators_limits_win_and_are_named(blobs):
    result = trained(blobs, Training(epochs=99, batch_size=999, learning_rate=0.1), replace(LIMITS, max_epochs=2))
    assert result.epochs == 2
    assert result.limited == [
        "99 epochs asked for, 2 done (FLFLEET_MAX_EPOCHS)",
        "batches of 999 asked for, 64 done (FLFLEET_MAX_BATCH_SIZE)",
    ]


def test_a_training_that_takes_too_long_ends_with_what_it_has(blobs):
    result = trained(blobs, limits=replace(LIMITS, max_seconds=0.0))
    assert result.epochs == 0
    assert result.limited == ["stopped in epoch 1 of 5 after 0 s"]
    assert result.delta.any()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"optimizer": "lion"}, "optimizer 'lion' is unknown; there are: sgd, adam, adamw"),
        ({"epochs": 0}, "epochs and batchSize must be at least 1"),
        ({"batch_size": 0}, "epochs and batchSize must be at least 1"),
        ({"learning_rate": 0.0}, "learningRate must be above 0"),
        ({"learning_rate": 1e39}, "at most 1e[+]06, got 1e[+]39"),
    ],
)
def test_training_settings_that_make_no_sense_are_refused(blobs, changes, reason):
    with pytest.raises(Rejected, match=reason):
        trained(blobs, replace_training(FIVE, **changes))


def test_a_loss_that_is_not_finite_stops_before_the_step(blobs):
    module = network()
    with torch.no_grad():
        module.fc.weight.fill_(3e38)
    before = flatten(module.state_dict())
    with pytest.raises(Rejected, match=r"the loss is (nan|inf) in epoch 1; the task's learning rate 0.1 is too high"):
        trained(blobs, module=module)
    assert np.array_equal(before, flatten(module.state_dict()))


def test_weights_that_are_not_finite_are_refused(blobs):
    huge = replace(blobs.training, x=np.full_like(blobs.training.x, 1e35))
    module = network()
    with torch.no_grad():
        module.fc.weight.zero_()
    with pytest.raises(Rejected, match=r"weights became NaN or infinite; the learning rate 1000000.0 is too high"):
        trained(replace(blobs, training=huge), Training(learning_rate=1e6, batch_size=90), LIMITS_OF_90, module)


def test_nothing_to_learn_from(blobs):
    nothing = replace(blobs.training, rows=np.empty(0, dtype=np.int64))
    with pytest.raises(Misconfigured, match="FLFLEET_VALIDATION_SHARE"):
        trained(replace(blobs, training=nothing))


def test_without_a_held_back_part_there_is_no_accuracy(blobs):
    assert (
        trained(replace(blobs, held_back=replace(blobs.held_back, rows=np.empty(0, dtype=np.int64)))).accuracy is None
    )


def test_threads_are_the_callers(blobs):
    before = torch.get_num_threads()
    try:
        trained(blobs, threads=1)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("count", "size", "sizes"), [(10, 4, [4, 4, 2]), (9, 4, [4, 5]), (8, 4, [4, 4]), (1, 4, [1]), (3, 1, [1, 1, 1])]
)
def test_a_last_batch_of_one_joins_the_one_before(count, size, sizes):
    batches = list(batches_of(np.arange(count), size))
    assert [len(batch) for batch in batches] == sizes
    assert np.concatenate(batches).tolist() == list(range(count))


def test_accuracy_counts_what_is_right(blobs):
    module = network()
    with torch.no_grad():
        module.fc.weight.zero_()
        module.fc.bias.copy_(torch.tensor([0.0, 1.0, 0.0]))
    assert accuracy(module, blobs.everything) == pytest.approx(1 / 3)
    with torch.no_grad():
        module.fc.weight.fill_(float("nan"))
    assert accuracy(module, blobs.everything) == 0.0
    with pytest.raises(ValueError, match="no samples"):
        accuracy(module, replace(blobs.everything, rows=np.empty(0, dtype=np.int64)))


def test_a_device_that_is_not_there_is_named():
    assert choose_device("cpu") == CPU
    assert choose_device("auto").type in ("cpu", "cuda")
    with pytest.raises(Misconfigured, match="FLFLEET_DEVICE is 'gpu', expected auto, cpu, cuda or cuda:N"):
        choose_device("gpu")
    with pytest.raises(Misconfigured, match=r"FLFLEET_DEVICE is 'cuda:99', but this process sees \d+ CUDA device"):
        choose_device("cuda:99")
