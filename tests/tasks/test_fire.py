"""The fleet under kill -9: real broker, real workers, stages that do next to nothing."""

import os
import signal

import pytest

from pipeline.stages.contract import Stage
from pipeline.stores.fleet.records import State
from tests.databases import ledger_url as ledger_url
from tests.signed_tasks import MINERS, make_task
from tests.worker_fleet import broker as broker
from tests.worker_fleet import environment as environment
from tests.worker_fleet import ledger as ledger
from tests.worker_fleet import lines, training, wait_until
from tests.worker_fleet import start_worker as start_worker
from tests.worker_fleet import sweep as sweep

pytestmark = pytest.mark.services

RUNS = 12


def test_no_run_is_lost_or_doubled_when_workers_are_killed(ledger, start_worker, sweep, tmp_path):
    first = start_worker("first")
    start_worker("second")
    run_ids = []
    for number in range(RUNS):
        task = make_task(taskID=f"task_{number}")
        run_ids.append(ledger.add_run(task, MINERS[0].address, "miner", max_submissions=99))

    # Three processes die in the middle of a training, then a whole worker with whatever it does.
    killed: list[int] = []
    for _ in range(3):
        wait_until(lambda: training(tmp_path) not in (None, *killed), 60, sweep)
        killed.append(training(tmp_path))
        os.kill(killed[-1], signal.SIGKILL)
    first.kill()
    first.wait()
    start_worker("third")

    wait_until(lambda: all(run.state == State.ACCEPTED for run in ledger.runs()), 60, sweep)

    runs = ledger.runs()
    assert sorted(run.run_id for run in runs) == sorted(run_ids)
    assert all([result.stage for result in run.stages] == list(Stage) for run in runs)
    sent = [line[1:] for line in lines(tmp_path, "sent")]
    assert {run for run, _ in sent} == set(run_ids)
    # However often it was sent, it was the same.
    assert len({tuple(each) for each in sent}) == RUNS
    # The kills did hit: some trainings were begun twice.
    assert len(lines(tmp_path, "train")) > RUNS
