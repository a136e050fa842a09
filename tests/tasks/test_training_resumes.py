"""A training that is killed between two epochs goes on from its checkpoint, in another process, with fresh randomness."""

import os
import signal

import pytest

from pipeline.learning.models.architectures import build
from pipeline.learning.models.model_file import write_model
from pipeline.protocol.task import Architecture
from pipeline.stages.contract import Stage
from pipeline.stores.fleet.records import State
from tests.learning_jobs import write_ward
from tests.signed_tasks import MINERS, make_task
from tests.worker_fleet import ROOT, lines, wait_until
from tests.worker_fleet import broker as broker
from tests.worker_fleet import environment as environment
from tests.worker_fleet import ledger as ledger
from tests.worker_fleet import ledger_url as ledger_url
from tests.worker_fleet import start_worker as start_worker
from tests.worker_fleet import sweep as sweep

pytestmark = [pytest.mark.services, pytest.mark.slow]

EPOCHS = 5
LINEAR = Architecture(name="linear", kwargs={"in_features": 6, "num_classes": 3})
#: The product's own stage 3; only slower, and telling what it does: process, epochs done, the order of its samples.
TRAIN = """
import importlib.util, os, time
import numpy as np

spec = importlib.util.spec_from_file_location("real_train", "{root}/pipeline/stages/train.py")
real = importlib.util.module_from_spec(spec)
spec.loader.exec_module(real)

def run(job):
    from pipeline.learning import training
    batches = training.batches_of

    def told(order, size):
        with open(os.environ["TRIVIAL_LOG"], "a") as file:
            file.write("epoch %d %s\\n" % (os.getpid(), ",".join(map(str, order))))
        time.sleep(0.5)
        return batches(order, size)

    training.batches_of = told
    try:
        return real.run(job)
    finally:
        training.batches_of = batches
"""
FETCH = """
from pathlib import Path
from pipeline.stages.contract import Output

def run(job):
    return Output(artifacts={"model": job.artifacts.put(Path("{model}").read_bytes())},
                  figures={"architecture": {"name": "linear", "kwargs": {"in_features": 6, "num_classes": 3}}})
"""


@pytest.fixture
def real_training(environment, tmp_path) -> None:
    """fetch hands out a small model; data and train are the product's own."""
    write_ward(tmp_path / "home/data", count=40)
    stages = tmp_path / "stages"
    (tmp_path / "model").write_bytes(write_model(build(LINEAR).state_dict(), LINEAR))
    (stages / "fetch.py").write_text(FETCH.replace("{model}", str(tmp_path / "model")))
    (stages / "train.py").write_text(TRAIN.replace("{root}", str(ROOT)))
    (stages / "data.py").write_text((ROOT / "pipeline/stages/data.py").read_text())


def epochs(tmp_path) -> list[tuple[int, str]]:
    """(process, order of its samples) of every epoch that was begun."""
    return [(int(pid), order) for _, pid, order in lines(tmp_path, "epoch")]


def test_a_training_goes_on_from_its_last_epoch(real_training, ledger, start_worker, sweep, tmp_path):
    task = make_task(
        dataset="ward",
        dimension=21,
        architecture={"name": "linear", "kwargs": {"in_features": 6, "num_classes": 3}},
        training={"epochs": EPOCHS, "batchSize": 8, "learningRate": 0.1},
    )
    run_id = ledger.add_run(task, MINERS[0].address, "miner")
    start_worker("one", DEVICE="cpu")
    start_worker("two", DEVICE="cpu")
    # In the middle of the third epoch: two checkpoints are noted.
    wait_until(lambda: len(epochs(tmp_path)) == 3 and "checkpoint" in ledger.run(run_id).notes, 60, sweep)
    killed = epochs(tmp_path)[-1][0]
    os.kill(killed, signal.SIGKILL)

    wait_until(lambda: ledger.run(run_id).state is State.ACCEPTED, 60, sweep)
    trained = next(result for result in ledger.run(run_id).stages if result.stage is Stage.TRAIN)
    assert trained.figures["epochs"] == EPOCHS
    begun = epochs(tmp_path)
    # The third once more, in another process, and no epoch before it.
    assert len(begun) == EPOCHS + 1
    assert [pid for pid, _ in begun[:3]] == [killed] * 3
    assert killed not in {pid for pid, _ in begun[3:]}
    # No order of samples comes twice: what was random in the first attempt is not known from the second.
    assert len({order for _, order in begun}) == EPOCHS + 1
