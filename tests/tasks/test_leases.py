import threading
import time

import pytest

from pipeline.stages.contract import Stage
from pipeline.stores.db.owners import this_process
from pipeline.stores.fleet.records import Claim, Fenced
from tasks.leases import RenewedLease
from tests.signed_tasks import MINERS, make_task


@pytest.fixture
def claim(fleet) -> Claim:
    run_id = fleet.add_run(make_task(), MINERS[0].address, "miner")
    found = fleet.claim(run_id, Stage.FETCH, this_process())
    assert found is not None
    return found


def test_a_lease_lives_as_long_as_its_stage(fleet, claim):
    # The tests' leases are 0.6 s long.
    with RenewedLease(fleet, claim) as lease:
        time.sleep(1.5)
        lease.check()
        assert fleet.due_for_sweep(idle_seconds=99) == []


def test_whoever_lost_the_run_learns_it(fleet, claim):
    with RenewedLease(fleet, claim) as lease:
        fleet.drop(claim.run_id)
        time.sleep(0.5)
        with pytest.raises(Fenced):
            lease.check()


def test_one_thread_serves_every_stage_of_a_process(fleet, claim):
    for _ in range(20):
        with RenewedLease(fleet, claim):
            pass
    assert sum(thread.name == "leases" for thread in threading.enumerate()) <= 1


def test_nothing_is_renewed_after_the_end(fleet, claim, monkeypatch):
    with RenewedLease(fleet, claim):
        pass
    renewed = []
    monkeypatch.setattr(fleet, "renew", renewed.append)
    time.sleep(0.5)
    assert renewed == []
