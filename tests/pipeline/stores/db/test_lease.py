import threading
import time

import pytest

from pipeline.errors import Retryable
from pipeline.stores.aggregator.rounds import RoundLedger, RoundState
from pipeline.stores.db import lease
from pipeline.stores.db.engine import open_database
from pipeline.stores.db.lease import LeaseLost, renewed
from tests.signed_tasks import make_task


@pytest.fixture
def ledger(ledger_url):
    one = RoundLedger(open_database(ledger_url), lease_seconds=30)
    task = make_task()
    one.adopt(task, model="ab", support=None, coordinates=task.dimension)
    one.begin_closing("task_001", 1)
    yield one
    one.close()


def test_a_live_workers_lease_is_left_alone(ledger) -> None:
    assert ledger.claim("task_001", 1) is not None
    assert ledger.claim("task_001", 1) is None


def test_a_lease_that_was_given_back_may_be_taken(ledger) -> None:
    ledger.release(ledger.claim("task_001", 1))
    lease = ledger.claim("task_001", 1)
    assert (lease.token, lease.attempts) == (2, 0)


def test_a_dead_workers_lease_is_taken_at_once_and_counted(ledger, monkeypatch) -> None:
    host, boot, _, _ = lease.this_process().split("|")
    monkeypatch.setattr(lease, "this_process", lambda: f"{host}|{boot}|2147483646|1")
    ledger.claim("task_001", 1)
    assert ledger.claim("task_001", 1).attempts == 1


def test_who_lost_the_lease_writes_nothing(ledger) -> None:
    ledger.lease_seconds = -1
    slow = ledger.claim("task_001", 1)
    ledger.lease_seconds = 30
    fast = ledger.claim("task_001", 1)
    with pytest.raises(LeaseLost):
        ledger.advance(slow, state=RoundState.ABORTED)
    with pytest.raises(LeaseLost):
        ledger.renew(slow)
    ledger.advance(fast, accuracy=0.5)
    assert ledger.find("task_001", 1).row.accuracy == 0.5


def test_a_lease_is_renewed_while_the_work_lasts_and_a_busy_ledger_does_not_end_that() -> None:
    times, enough = [], threading.Event()

    def renew() -> None:
        times.append(time.monotonic())
        if len(times) == 1:
            raise Retryable("busy")
        if len(times) >= 3:
            enough.set()

    with renewed(renew, 0.03):
        assert enough.wait(5)
    count = len(times)
    time.sleep(0.05)
    assert len(times) == count


def test_renewing_ends_where_the_lease_is_lost() -> None:
    calls, called = [], threading.Event()

    def renew() -> None:
        calls.append(1)
        called.set()
        raise LeaseLost("gone")

    with renewed(renew, 0.03):
        assert called.wait(5)
        time.sleep(0.05)
    assert len(calls) == 1
