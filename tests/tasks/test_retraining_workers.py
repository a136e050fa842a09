"""Local trainings in real workers: killed between two epochs, and in the way of a round."""

import os
import signal

import pytest

from pipeline.learning.models.architectures import build
from pipeline.learning.models.model_file import write_model
from pipeline.protocol.task import Architecture
from pipeline.stages.contract import Stage
from pipeline.stores.artifacts import ArtifactStore
from pipeline.stores.fleet.records import State
from pipeline.stores.fleet.retraining_records import Turn
from pipeline.stores.fleet.tables import retrainings
from tasks.app import CONTROL, RETRAIN
from tests.learning_jobs import write_ward
from tests.signed_tasks import MINERS, make_task
from tests.worker_fleet import broker as broker
from tests.worker_fleet import environment as environment
from tests.worker_fleet import ledger as ledger
from tests.worker_fleet import ledger_url as ledger_url
from tests.worker_fleet import lines, wait_until
from tests.worker_fleet import start_worker as start_worker
from tests.worker_fleet import sweep as sweep

pytestmark = [pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(300)]

#: Seconds: a process that takes a killed one's place imports torch first, on a machine that may be busy.
_PATIENCE = 140
EPOCHS = 5
LINEAR = {"name": "linear", "kwargs": {"in_features": 6, "num_classes": 3}}
#: The product's own local trainings beside trivial stages; only slower, and telling what they do: which begin, and the order of every
#: epoch's samples. A checkpoint after every epoch.
APP = """
import os, sys, time
import pipeline.retraining  # it holds the real stages
import pipeline.stages
from celery.signals import worker_process_init

del sys.modules["pipeline.stages.fetch"], sys.modules["pipeline.stages.train"]
pipeline.stages.__path__.insert(0, os.environ["TRIVIAL_STAGES"])
from tasks.app import app
app.conf.include = ["tasks.stages", "tasks.polling", "tasks.sweeping", "tasks.retraining"]

def log(*words):
    with open(os.environ["TRIVIAL_LOG"], "a") as file:
        file.write(" ".join(map(str, words)) + "\\n")

@worker_process_init.connect
def slow(**_options):
    from pipeline import retraining
    from pipeline.learning import stacking, training
    from tasks import retraining_turns

    retraining.CHECKPOINT_SECONDS = 0.0
    batches_of, retrain = training.batches_of, retraining_turns.retrain

    def told(order, size):
        log("epoch", os.getpid(), ",".join(map(str, order)))
        time.sleep(float(os.environ["EPOCH_SECONDS"]))
        return batches_of(order, size)

    def begun(job, *arguments, **options):
        log("begins", job.run_id)
        return retrain(job, *arguments, **options)

    training.batches_of = stacking.batches_of = told
    retraining_turns.retrain = begun
"""


@pytest.fixture
def model(environment, tmp_path) -> str:
    """The digest of a small model that the fleet's store holds; the fleet has data for it, and slow workers."""
    write_ward(tmp_path / "home/data", count=40)
    (tmp_path / "trivial_fleet.py").write_text(APP)
    environment |= {"EPOCH_SECONDS": "0.5", "FLFLEET_DEVICE": "cpu"}
    architecture = Architecture(**LINEAR)
    store = ArtifactStore((tmp_path / "home/artifacts").as_uri(), tmp_path / "scratch")
    return store.put(write_model(build(architecture).state_dict(), architecture))


def add(ledger, model, name, epochs=EPOCHS) -> str:
    task = make_task(
        taskID=name,
        dataset="ward",
        dimension=21,
        architecture=LINEAR,
        modelSHA256="0x" + model,
        training={"epochs": epochs, "batchSize": 8, "learningRate": 0.01},
    )
    run_id = ledger.add_run(task, MINERS[0].address, "miner", max_submissions=99)
    assert run_id is not None
    return run_id


def enqueue(ledger) -> None:
    """Trains what has a run again; the runs themselves are given up."""
    sum(ledger.add_retrainings(batch="batch", priority=5))
    for run in ledger.runs():
        ledger.drop(run.run_id)


def rows(ledger):
    return list(ledger.retrainings("batch"))


def epochs(tmp_path) -> list[tuple[int, str]]:
    """(process, order of its samples) of every epoch that was begun."""
    return [(int(pid), order) for _, pid, order in lines(tmp_path, "epoch")]


def stored(tmp_path) -> set[str]:
    return {path.name for path in (tmp_path / "home/artifacts").rglob("*") if path.is_file()}


def test_a_local_training_that_is_killed_goes_on_from_its_last_epoch(model, ledger, start_worker, sweep, tmp_path):
    add(ledger, model, "task_001")
    enqueue(ledger)
    before = stored(tmp_path)
    start_worker("train", queues=[Stage.TRAIN, RETRAIN, CONTROL])
    # In the middle of the third epoch: two checkpoints were noted.
    wait_until(lambda: len(epochs(tmp_path)) == 3, _PATIENCE, sweep)
    assert ledger.retraining_checkpoints()
    killed = epochs(tmp_path)[-1][0]
    os.kill(killed, signal.SIGKILL)

    wait_until(lambda: rows(ledger)[0].state is Turn.DONE, _PATIENCE, sweep)
    assert rows(ledger)[0].figures["epochs"] == EPOCHS
    begun = epochs(tmp_path)
    # The third once more, in another process, and no epoch before it.
    assert len(begun) == EPOCHS + 1
    assert [pid for pid, _ in begun[:3]] == [killed] * 3
    assert killed not in {pid for pid, _ in begun[3:]}
    assert len({order for _, order in begun}) == EPOCHS + 1
    assert stored(tmp_path) == before


def test_a_stack_that_is_killed_goes_on_one_by_one_from_its_last_epoch(
    model, environment, ledger, start_worker, sweep, tmp_path
):
    environment["EPOCH_SECONDS"] = "0.2"
    for number in range(4):
        add(ledger, model, f"task-{number}")
    enqueue(ledger)
    start_worker("train", queues=[Stage.TRAIN, RETRAIN, CONTROL], processes=1)
    wait_until(lambda: len(epochs(tmp_path)) > 2 * 4, _PATIENCE, sweep)
    killed = epochs(tmp_path)[-1][0]
    assert not lines(tmp_path, "begins")
    os.kill(killed, signal.SIGKILL)

    wait_until(lambda: {row.state for row in rows(ledger)} == {Turn.DONE}, _PATIENCE, sweep)
    assert {row.figures["epochs"] for row in rows(ledger)} == {EPOCHS}
    assert {row.figures["alone"] for row in rows(ledger)} == {"an earlier attempt ended without a result"}
    # Each goes on behind its second epoch.
    assert sum(pid != killed for pid, _ in epochs(tmp_path)) == 4 * (EPOCHS - 2)


@pytest.fixture
def start_pools(model, environment, start_worker):
    """A train worker of one process, as `flfleet up` starts it, and one for the other stages, which do next to nothing."""

    def start(epoch_seconds: str) -> None:
        environment["EPOCH_SECONDS"] = epoch_seconds
        start_worker("train", queues=[Stage.TRAIN, RETRAIN], processes=1, STACK_PARAMETERS="0")
        start_worker("others", queues=[*(stage for stage in Stage if stage is not Stage.TRAIN), CONTROL])

    return start


def multiply(ledger, count: int) -> None:
    """So many local trainings of the one that waits."""
    with ledger._transaction() as db:
        row = db.execute(retrainings.select()).one()._asdict()
        db.execute(retrainings.insert(), [row | {"retraining_id": f"copy-{number:05}"} for number in range(count)])


def arrive(ledger) -> str:
    """A round of a task that somebody waits for."""
    run_id = ledger.add_run(make_task(taskID="urgent"), MINERS[0].address, "miner", max_submissions=99)
    assert run_id is not None
    return run_id


def test_a_round_that_comes_while_thousands_wait_is_trained_next(model, ledger, start_pools, sweep, tmp_path):
    add(ledger, model, "task_001", epochs=2)
    enqueue(ledger)
    multiply(ledger, 3000)
    start_pools("0.15")
    wait_until(lambda: len(lines(tmp_path, "begins")) >= 3, _PATIENCE, sweep)
    run_id = arrive(ledger)
    wait_until(lambda: ledger.run(run_id).state is State.ACCEPTED, _PATIENCE, sweep)

    told = [line.split()[:2] for line in (tmp_path / "log").read_text().splitlines()]
    due, trained = told.index(["data", run_id]), told.index(["train", run_id])
    # The one that was at work, and at most one that was taken before the round's message was there.
    assert sum(word == "begins" for word, _ in told[due:trained]) <= 1
    assert ledger.retraining_counts()[Turn.QUEUED] > 2900


def test_a_long_local_training_gives_way_to_a_round_and_goes_on(model, ledger, start_pools, sweep, tmp_path):
    add(ledger, model, "task_001", epochs=40)
    enqueue(ledger)
    start_pools("0.4")
    wait_until(lambda: len(epochs(tmp_path)) == 2, _PATIENCE, sweep)
    run_id = arrive(ledger)
    wait_until(lambda: lines(tmp_path, "train"), _PATIENCE, sweep)
    assert rows(ledger)[0].state is not Turn.DONE
    done = len(epochs(tmp_path))
    assert done < 40
    wait_until(lambda: len(epochs(tmp_path)) > done, _PATIENCE, sweep)
    # It was taken twice, as the same attempt, and has not begun anew.
    assert lines(tmp_path, "begins") == [["begins", rows(ledger)[0].retraining_id]] * 2
    wait_until(lambda: rows(ledger)[0].state is Turn.DONE, _PATIENCE, sweep)
    assert rows(ledger)[0].attempts == 0
    assert len(epochs(tmp_path)) == 40
    assert ledger.run(run_id).state is State.ACCEPTED
