"""Stages that hold the interpreter, and stages that never end: real workers, killed by nobody but their own main process."""

import pytest

from pipeline.stores.fleet.records import State
from tests.signed_tasks import MINERS, make_task
from tests.worker_fleet import broker as broker
from tests.worker_fleet import environment as environment
from tests.worker_fleet import ledger as ledger
from tests.worker_fleet import ledger_url as ledger_url
from tests.worker_fleet import lines, wait_until
from tests.worker_fleet import start_worker as start_worker
from tests.worker_fleet import sweep as sweep

pytestmark = [pytest.mark.services, pytest.mark.slow]
#: libc's sleep, called like a function of the interpreter's own: no other thread runs meanwhile.
HOLDING = """
import ctypes, os
from pipeline.stages.contract import Output

def run(job):
    with open(os.environ["TRIVIAL_LOG"], "a") as file:
        file.write("train %s %d\\n" % (job.run_id, os.getpid()))
    ctypes.PyDLL(None).sleep({seconds})
    return Output()
"""


def add(ledger) -> str:
    return ledger.add_run(make_task(), MINERS[0].address, "miner")


def test_a_lease_lives_through_a_call_that_holds_the_interpreter(environment, ledger, start_worker, sweep, tmp_path):
    (tmp_path / "stages/train.py").write_text(HOLDING.replace("{seconds}", "7"))
    run_id = add(ledger)
    start_worker("one")  # its lease is 3 s
    wait_until(lambda: ledger.run(run_id).state is State.ACCEPTED, 40, sweep)
    assert len(lines(tmp_path, "train")) == 1


def test_a_stage_that_never_ends_is_killed_and_counted(environment, ledger, start_worker, sweep, tmp_path):
    (tmp_path / "stages/train.py").write_text(HOLDING.replace("{seconds}", "600"))
    run_id = add(ledger)
    start_worker("one", STAGE_SECONDS='{"train": 2}', MAX_ATTEMPTS="2")
    wait_until(lambda: ledger.run(run_id).state is State.DEAD, 40, sweep)
    run = ledger.run(run_id)
    assert run.attempts == 2
    assert "train" in run.error
    # Each attempt was another process: the first one is gone.
    assert len({line[2] for line in lines(tmp_path, "train")}) == 2
