import os

import numpy as np
import pytest
from celery import Celery
from kombu import Consumer

from pipeline.learning import stacking
from pipeline.settings import current, load
from pipeline.stages.contract import Stage
from pipeline.stores.db.owners import this_process
from pipeline.stores.fleet.retraining_records import Turn
from tasks import retraining, retraining_turns, sweeping
from tasks.app import RETRAIN, RETRAIN_PRIORITY, app, configuration
from tasks.holdings import artifacts
from tasks.queues import queue_depths
from tasks.retention import prune_runs
from tests.learning_jobs import write_ward
from tests.signed_tasks import MINERS, make_task
from tests.worker_fleet import broker as broker
from tests.worker_fleet import wait_until

LINEAR = {"name": "linear", "kwargs": {"in_features": 6, "num_classes": 3}}


def linear_model() -> str:
    """Puts a linear model for `write_ward`'s data into the store."""
    from pipeline.learning.models.architectures import build
    from pipeline.learning.models.model_file import write_model
    from pipeline.protocol.task import Architecture

    architecture = Architecture(**LINEAR)
    return artifacts().put(write_model(build(architecture).state_dict(), architecture))


@pytest.fixture
def ward(fleet, tmp_path):
    write_ward(tmp_path / "home/data")
    retraining_turns._datasets.cache_clear()
    retraining_turns._rounds.cache_clear()
    retraining._stacks.cache_clear()
    return linear_model()


def add(ledger, model: str, name="task_001", **changes) -> str:
    members = {
        "dataset": "ward",
        "dimension": 21,
        "architecture": LINEAR,
        "modelSHA256": "0x" + model,
        "training": {"epochs": 2, "batchSize": 8, "learningRate": 0.1},
    } | changes
    run_id = ledger.add_run(make_task(taskID=name, **members), MINERS[0].address, "miner", max_submissions=99)
    assert run_id is not None
    return run_id


def enqueue(ledger) -> None:
    assert sum(ledger.add_retrainings(batch="batch", priority=5))


def retrain() -> str:
    result = app.tasks["flfleet.retrain"].apply()
    return result.result if isinstance(result.result, str) else repr(result.result)


def test_a_local_training_tells_loss_accuracy_and_time_and_leaves_no_weights(fleet, ward):
    add(fleet, ward)
    enqueue(fleet)
    before = {found.name for found in artifacts().stored()}
    assert retrain() == "trained"
    (row,) = fleet.retrainings("batch")
    assert row.state is Turn.DONE
    assert len(row.figures["losses"]) == 2
    assert row.figures["losses"][1] < row.figures["losses"][0]
    assert row.figures["samples"] > 0
    assert len(row.figures["dataset"]) == 64
    assert row.seconds > 0
    assert {found.name for found in artifacts().stored()} == before


def test_where_nothing_waits_a_hint_does_nothing(fleet):
    assert retrain() == "nothing waits"


def test_a_data_set_that_is_missing_fails_with_the_reason(fleet, ward):
    add(fleet, ward, dataset="elsewhere")
    enqueue(fleet)
    assert retrain().startswith("failed")
    (row,) = fleet.retrainings("batch")
    assert row.state is Turn.FAILED
    assert "elsewhere" in row.error


def test_a_bug_is_a_counted_attempt(fleet, ward, monkeypatch):
    add(fleet, ward)
    enqueue(fleet)

    def broken(*_arguments, **_options):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(retraining_turns, "retrain", broken)
    retrain()
    (row,) = fleet.retrainings("batch")
    assert (row.state, row.attempts) == (Turn.QUEUED, 1)
    assert "ZeroDivisionError" in row.error


def test_a_training_that_is_cancelled_stops_and_writes_nothing(fleet, ward, monkeypatch):
    add(fleet, ward, training={"epochs": 100, "batchSize": 1, "learningRate": 0.01})
    enqueue(fleet)
    monkeypatch.setattr(retraining_turns, "_REPORT_SECONDS", 0.0)
    report = retraining_turns._Report.__call__

    def cancelled_at_first_sight(self, progress):
        fleet.cancel_retrainings()
        report(self, progress)

    monkeypatch.setattr(retraining_turns._Report, "__call__", cancelled_at_first_sight)
    assert retrain().startswith("fenced")
    (row,) = fleet.retrainings("batch")
    assert (row.state, row.figures) == (Turn.CANCELLED, {})


FIVE = {"epochs": 5, "batchSize": 8, "learningRate": 0.1}


def test_a_training_gives_way_to_a_round_after_an_epoch_and_goes_on_later(fleet, ward, monkeypatch):
    add(fleet, ward, training=FIVE)
    enqueue(fleet)
    monkeypatch.setattr(retraining_turns, "PATIENCE_SECONDS", 0.0)
    urgent = add(fleet, ward, "urgent")
    for stage in (Stage.FETCH, Stage.DATA):
        fleet.commit(fleet.claim(urgent, stage, this_process()), {}, {})
    assert retrain().startswith("gave way")
    (row,) = fleet.retrainings("batch")
    assert (row.state, row.attempts) == (Turn.QUEUED, 0)
    (checkpoint,) = fleet.retraining_checkpoints()
    assert artifacts().exists(checkpoint)

    fleet.claim(urgent, Stage.TRAIN, this_process())
    reports = []
    monkeypatch.setattr(retraining_turns._Report, "__call__", lambda _self, progress: reports.append(progress["epoch"]))
    assert retrain() == "trained"
    (row,) = fleet.retrainings("batch")
    assert row.figures["epochs"] == 5
    assert min(reports) == 2  # the first epoch is not trained twice
    assert not artifacts().exists(checkpoint)


def test_a_checkpoint_that_is_damaged_means_a_new_start(fleet, ward):
    add(fleet, ward)
    enqueue(fleet)
    claim = fleet.next_retraining(this_process())
    fleet.note_retraining(claim, artifacts().put(b"none"))
    fleet.give_back_retraining(claim)
    assert retrain().startswith("tried: ")
    (row,) = fleet.retrainings("batch")
    assert "checkpoint" in row.error
    wait_until(lambda: fleet.waiting_retrainings(), 10)
    assert retrain() == "trained"


def test_pruning_keeps_the_checkpoint_of_a_training_that_waits(fleet, ward):
    add(fleet, ward)
    enqueue(fleet)
    claim = fleet.next_retraining(this_process())
    kept, left = artifacts().put(b"kept"), artifacts().put(b"left")
    fleet.note_retraining(claim, kept)
    for path in current().path("artifacts").rglob("*"):
        os.utime(path, (1, 1))
    prune_runs(fleet, artifacts(), current())
    assert artifacts().exists(kept)
    assert not artifacts().exists(left)


@pytest.fixture
def many(fleet, ward):
    """Six that may share a stack."""
    for number in range(6):
        add(fleet, ward, f"task-{number}", training=FIVE)
    enqueue(fleet)
    return fleet


def test_small_ones_of_a_kind_are_trained_together(many):
    assert retrain() == "trained 6 of 6"
    rows = list(many.retrainings("batch"))
    assert {row.state for row in rows} == {Turn.DONE}
    assert {(row.figures["together"], row.figures["alone"]) for row in rows} == {(6, None)}
    assert {len(row.figures["losses"]) for row in rows} == {5}
    # Each in an order of its own.
    assert len({row.figures["losses"][-1] for row in rows}) == 6
    assert len({entry.members["retraining"] for entry in many.audit_entries()}) == 6
    assert retrain() == "nothing waits"


def test_together_each_comes_out_as_alone(many, monkeypatch):
    monkeypatch.setenv("FLFLEET_TRAINING_SEED", "7")
    current.cache_clear()
    retrain()
    monkeypatch.setenv("FLFLEET_STACK_PARAMETERS", "0")
    current.cache_clear()
    sum(many.add_retrainings(batch="alone", priority=5))
    assert [retrain() for _ in range(6)] == ["trained"] * 6
    for stacked, alone in zip(many.retrainings("batch"), many.retrainings("alone"), strict=True):
        assert stacked.figures["losses"] == pytest.approx(alone.figures["losses"], rel=1e-4)
        assert stacked.figures["accuracy"] == alone.figures["accuracy"]
        assert alone.figures["alone"] == "FLFLEET_STACK_PARAMETERS is 0"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"training": FIVE | {"learningRate": 0.2}}, "no other of its kind waited"),
        ({"training": FIVE, "architecture": None}, "the task names no architecture"),
    ],
)
def test_another_kind_is_left_to_its_own_turn(many, ward, changes, reason):
    add(many, ward, "unlike", **changes)
    sum(many.add_retrainings(batch="later", priority=5, task_ids=["unlike"]))
    assert [retrain(), retrain()] == ["trained 6 of 6", "trained"]
    (row,) = many.retrainings("later")
    assert row.figures["alone"] == reason


def test_who_failed_before_takes_no_others_along(many):
    claim = many.next_retraining(this_process())
    many.defer_retraining(claim, "a worker ended without a word", 0)
    assert retrain() == "trained"
    assert retrain() == "trained 5 of 5"
    (row,) = [row for row in many.retrainings("batch") if row.retraining_id == claim.run_id]
    assert row.figures["alone"] == "an earlier attempt ended without a result"


def test_one_whose_model_is_unfit_fails_by_itself(many, ward):
    add(many, artifacts().put(b"no model"), "broken", training=FIVE)
    sum(many.add_retrainings(batch="broken", priority=5, task_ids=["broken"]))
    assert retrain() == "trained 6 of 7"
    (row,) = many.retrainings("broken")
    assert row.state is Turn.FAILED
    assert {row.state for row in many.retrainings("batch")} == {Turn.DONE}


def test_one_that_is_cancelled_leaves_its_stack(many, monkeypatch):
    monkeypatch.setattr(retraining_turns, "_REPORT_SECONDS", 0.0)
    leave = retraining_turns.Turns._leave
    cancelled = [next(iter(many.retrainings("batch"))).retraining_id]
    seen = []

    def cancelled_at_first_sight(self, turns, leases, progress):
        many.cancel_retrainings(ids=cancelled)
        seen.append(len(progress))
        return leave(self, turns, leases, progress)

    monkeypatch.setattr(retraining_turns.Turns, "_leave", cancelled_at_first_sight)
    assert retrain() == "trained 5 of 6"
    assert seen[0] == 6
    assert set(seen[1:]) == {5}
    states = {row.retraining_id: row.state for row in many.retrainings("batch")}
    assert states.pop(cancelled[0]) is Turn.CANCELLED
    assert set(states.values()) == {Turn.DONE}


def test_one_that_is_cancelled_at_the_last_moment_writes_nothing(many, monkeypatch):
    finish = many.finish_retrainings
    (first, *_others) = many.retrainings("batch")

    def late(figures):
        many.cancel_retrainings(ids=[first.retraining_id])
        return finish(figures)

    monkeypatch.setattr(many, "finish_retrainings", late)
    assert retrain() == "trained 5 of 6"
    states = {row.retraining_id: (row.state, bool(row.figures)) for row in many.retrainings("batch")}
    assert states.pop(first.retraining_id) == (Turn.CANCELLED, False)
    assert set(states.values()) == {(Turn.DONE, True)}


def test_a_stack_gives_way_to_a_round_and_goes_on_together(many, ward, monkeypatch):
    monkeypatch.setattr(retraining_turns, "PATIENCE_SECONDS", 0.0)
    urgent = add(many, ward, "urgent")
    for stage in (Stage.FETCH, Stage.DATA):
        many.commit(many.claim(urgent, stage, this_process()), {}, {})
    assert retrain() == "trained 0 of 6"
    assert {(row.state, row.attempts) for row in many.retrainings("batch")} == {(Turn.QUEUED, 0)}
    checkpoints = many.retraining_checkpoints()
    assert len(checkpoints) == 6

    many.claim(urgent, Stage.TRAIN, this_process())
    assert retrain() == "trained 6 of 6"
    assert {row.figures["epochs"] for row in many.retrainings("batch")} == {5}
    assert not any(artifacts().exists(digest) for digest in checkpoints)


def test_what_turns_out_not_to_be_stackable_is_trained_one_by_one_and_says_why(many, monkeypatch):
    def undone(*_arguments, **_options):
        raise stacking.Unstackable("torch cannot stack it: a lack of memory")
        yield

    monkeypatch.setattr(stacking, "train_stack", undone)
    assert [retrain() for _ in range(6)] == ["trained"] * 6
    rows = list(many.retrainings("batch"))
    assert {row.figures["alone"] for row in rows} == {"torch cannot stack it: a lack of memory"}
    assert {row.attempts for row in rows} == {0}


def test_a_bug_in_a_stack_is_an_attempt_of_each_and_then_each_is_alone(many, monkeypatch):
    def broken(*_arguments, **_options):
        raise ZeroDivisionError("division by zero")
        yield

    monkeypatch.setattr(retraining_turns, "retrain_together", broken)
    retrain()
    rows = list(many.retrainings("batch"))
    assert {(row.state, row.attempts) for row in rows} == {(Turn.QUEUED, 1)}
    assert all("ZeroDivisionError" in row.error for row in rows)
    wait_until(lambda: many.waiting_retrainings() == 6, 10)
    assert retrain() == "trained"


def test_a_data_set_that_is_missing_fails_a_stack_with_the_reason(fleet, ward):
    for name in ("one", "two"):
        add(fleet, ward, name, dataset="elsewhere")
    enqueue(fleet)
    assert retrain() == "trained 0 of 2"
    assert {row.state for row in fleet.retrainings("batch")} == {Turn.FAILED}
    assert all("elsewhere" in row.error for row in fleet.retrainings("batch"))


def test_a_data_set_is_checked_once_for_many_trainings_until_a_file_changes(fleet, ward, tmp_path, monkeypatch):
    from pipeline.learning.data import datasets

    opened, open_dataset = [], datasets.open_dataset
    monkeypatch.setattr(datasets, "open_dataset", lambda *a, **k: opened.append(a) or open_dataset(*a, **k))
    monkeypatch.setenv("FLFLEET_STACK_PARAMETERS", "0")
    current.cache_clear()
    for name in ("one", "two", "three"):
        add(fleet, ward, name)
    enqueue(fleet)
    assert [retrain(), retrain()] == ["trained", "trained"]
    assert len(opened) == 1
    image = next((tmp_path / "home/data/ward/images").iterdir())
    np.save(image, np.load(image) + 1)
    assert retrain() == "trained"
    assert len(opened) == 2
    assert len({row.figures["dataset"] for row in fleet.retrainings("batch")}) == 2


def test_the_sweep_keeps_as_many_hints_in_the_queue_as_work_waits_up_to_a_limit(
    fleet, ward, memory_broker, monkeypatch
):
    monkeypatch.setattr(retraining, "MOST_HINTS", 3)
    for number in range(5):
        add(fleet, ward, f"task-{number}")
    enqueue(fleet)
    assert retraining.top_up() == 3
    assert queue_depths([RETRAIN]) == {RETRAIN: 3}
    assert retraining.top_up() == 0
    with app.connection_for_write() as connection, connection.channel() as channel:
        channel.queue_purge(RETRAIN)  # the broker was wiped
    assert "3 hints to retrain" in sweeping.sweep.apply().get()


def test_one_hint_is_enough_for_all_that_waits(many, worker, monkeypatch):
    monkeypatch.setenv("FLFLEET_STACK_PARAMETERS", "0")
    current.cache_clear()
    retraining.retrain_next.apply_async(priority=RETRAIN_PRIORITY)
    wait_until(lambda: many.retraining_counts() == {Turn.DONE: 6}, 60)


@pytest.mark.services
def test_a_train_worker_takes_a_stage_before_hints_that_came_earlier(broker, monkeypatch):
    """On a real broker: a worker of the queues `train` and `retrain`, as `flfleet up` starts it."""
    monkeypatch.setenv("FLFLEET_BROKER_URL", broker)
    fleet_app = Celery("priorities", config_source=configuration(load(), "train"), set_as_current=False)
    for _ in range(5):
        fleet_app.send_task("flfleet.retrain", priority=RETRAIN_PRIORITY)
    fleet_app.send_task("flfleet.train", args=("run",))
    taken: list[str] = []

    def take(_body, message):
        taken.append(message.headers["task"])
        message.ack()

    with fleet_app.connection_for_read() as connection, connection.channel() as channel:
        channel.basic_qos(0, 1, False)
        queues = [fleet_app.amqp.queues[name] for name in ("retrain", "train")]
        with Consumer(channel, queues, callbacks=[take], accept=["json"]):
            while len(taken) < 6:
                connection.drain_events(timeout=5)
    fleet_app.close()
    assert taken == ["flfleet.train"] + 5 * ["flfleet.retrain"]


def test_a_fixed_seed_trains_alike_again_and_no_seed_does_not(fleet, ward, monkeypatch):
    for seed, alike in (("7", True), (None, False)):
        if seed:
            monkeypatch.setenv("FLFLEET_TRAINING_SEED", seed)
        else:
            monkeypatch.delenv("FLFLEET_TRAINING_SEED")
        current.cache_clear()
        add(fleet, ward, f"seed-{seed}")
        for _ in range(2):
            sum(fleet.add_retrainings(batch=f"batch-{seed}", priority=5, task_ids=[f"seed-{seed}"]))
            assert retrain() == "trained"
        first, second = (row.figures["losses"] for row in fleet.retrainings(f"batch-{seed}"))
        assert (first == second) is alike
