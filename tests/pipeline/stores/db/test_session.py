"""Statements that are given to SQLite's driver as they are keep the promises of those that are not."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import OperationalError

from pipeline.errors import Retryable
from pipeline.stores.db.engine import open_database, transaction
from pipeline.stores.db.owners import this_process
from pipeline.stores.db.session import quick_transaction
from pipeline.stores.fleet.ledger import RunLedger
from pipeline.stores.fleet.records import Stage, State
from tests.signed_tasks import MINERS, make_task


@pytest.fixture
def engine(tmp_path):
    one = open_database(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    yield one
    one.dispose()


def break_off(engine, **options) -> None:
    with quick_transaction(engine, **options) as db:
        db.execute("INSERT INTO kept VALUES (1)")
        raise ValueError("broken")


@pytest.fixture
def table(engine):
    with quick_transaction(engine) as db:
        db.execute("CREATE TABLE kept (number INTEGER)")


@pytest.mark.parametrize("durable", [False, True])
def test_a_transaction_that_fails_leaves_nothing_and_no_lock(engine, table, durable):
    with pytest.raises(ValueError, match="broken"):
        break_off(engine, durable=durable)
    with quick_transaction(engine) as db:
        assert db.execute("SELECT count(*) FROM kept").fetchone() == (0,)


@pytest.fixture
def synced(monkeypatch):
    """Paths that are synced, in order, each with whether another writer may write at that moment."""
    found = []

    def fsync(handle: int) -> None:
        path = Path(f"/proc/self/fd/{handle}").resolve()
        with closing(sqlite3.connect(path.with_name("ledger.sqlite"), timeout=0, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            found.append((path.name, other.execute("SELECT count(*) FROM kept").fetchone()[0]))
            other.execute("ROLLBACK")

    monkeypatch.setattr("pipeline.stores.db.engine.os.fsync", fsync)
    return found


@pytest.mark.parametrize("begin", [quick_transaction, transaction])
def test_only_a_durable_transaction_syncs_the_log_and_no_writer_waits_for_it(engine, table, synced, begin):
    insert = "INSERT INTO kept VALUES (1)"
    for durable in (False, True):
        with begin(engine, durable=durable) as db:
            db.execute(insert if begin is quick_transaction else text(insert))
            assert synced == []
    assert synced == [("ledger.sqlite-wal", 2)]  # what was committed without a sync before is on the disk too


def test_a_log_that_cannot_be_synced_is_an_error(engine, table, monkeypatch):
    def full(_handle: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("pipeline.stores.db.engine.os.fsync", full)
    with pytest.raises(OperationalError, match="Input/output error"), quick_transaction(engine, durable=True):
        pass


def test_a_database_that_stays_locked_is_retryable(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.stores.db.engine.BUSY_SECONDS", 0.01)
    path = tmp_path / "ledger.sqlite"
    ledger = RunLedger(open_database(f"sqlite:///{path}"))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Retryable, match="locked"):
        ledger.claim("any", Stage.FETCH, this_process())
    other.execute("ROLLBACK")
    assert ledger.claim("any", Stage.FETCH, this_process()) is None
    other.close()
    ledger.close()


@pytest.mark.parametrize("queued", [10, 1000])
def test_what_a_stage_asks_does_not_grow_with_the_queue(tmp_path, queued):
    """Counted in SQLite's own instructions: time would tell of the machine."""
    ledger = RunLedger(open_database(f"sqlite:///{tmp_path / 'ledger.sqlite'}"))
    for number in range(queued):
        task = make_task(taskID=f"task_{number}", modelSHA256=f"0x{number:064x}")
        run_id = ledger.add_run(task, MINERS[0].address, "one")
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    ledger.close()  # every connection from here on counts
    event.listen(ledger._engine, "connect", lambda connection, _record: connection.set_progress_handler(count, 100))
    claim = ledger.claim(run_id, Stage.FETCH, this_process())
    ledger.commit(claim, {}, {})
    claim = ledger.claim(run_id, Stage.DATA, this_process())
    ledger.note(claim, "checkpoint", "a" * 64)
    late = make_task(taskID="late", modelSHA256="0x" + "ef" * 32)
    assert ledger.add_run(late, MINERS[0].address, "one") is not None
    assert ledger.run(run_id).state is State.RUNNING
    assert steps < 20
    ledger.close()
