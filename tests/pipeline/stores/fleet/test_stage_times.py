import time

import pytest
from sqlalchemy import delete, func, select, update

from pipeline.stores.db.engine import open_database, transaction
from pipeline.stores.db.owners import this_process
from pipeline.stores.fleet.ledger import RunLedger
from pipeline.stores.fleet.records import Stage
from pipeline.stores.fleet.stage_times import SETTLE_SECONDS, SettledTimes
from pipeline.stores.fleet.tables import outputs
from tests.signed_tasks import MINERS, make_task

ME, MINER = this_process(), MINERS[0].address
LATER = 2 * SETTLE_SECONDS


@pytest.fixture
def engine(ledger_url):
    return open_database(ledger_url)


@pytest.fixture
def book(engine):
    opened = RunLedger(engine, max_attempts=3)
    yield opened
    opened.close()


@pytest.fixture
def clock():
    """Seconds that a test adds to the time of day."""
    return [0.0]


@pytest.fixture
def times(clock):
    return SettledTimes(lambda: time.time() + clock[0])


def commit(book, name: str, *stages: str) -> str:
    run_id = book.add_run(make_task(taskID=name), MINER, "one", max_submissions=99)
    for stage in stages:
        book.commit(book.claim(run_id, stage, ME), {}, {})
    return run_id


def ends(engine, *, seconds: float, after: float) -> None:
    """Gives the output that ended last a duration, and an end so many seconds from now."""
    with transaction(engine) as db:
        newest = select(func.max(outputs.c.finished_at)).scalar_subquery()
        changed = update(outputs).where(outputs.c.finished_at == newest)
        db.execute(changed.values(seconds=seconds, finished_at=time.time() + after))


def look(engine, times):
    with transaction(engine) as db:
        return {stage: found.count for stage, found in times.look(db).items()}


def test_what_ended_long_ago_is_not_read_again(book, engine, times, clock):
    commit(book, "task_001", "fetch", "data")
    clock[0] = LATER
    assert look(engine, times) == {Stage.FETCH: 1, Stage.DATA: 1}
    with transaction(engine) as db:
        db.execute(delete(outputs))
    assert look(engine, times) == {Stage.FETCH: 1, Stage.DATA: 1}


def test_every_commit_is_counted_once_as_time_goes_on(book, engine, times, clock):
    commit(book, "task_001", "fetch")
    ends(engine, seconds=0.02, after=0.0)
    assert look(engine, times) == {Stage.FETCH: 1}
    clock[0] = LATER
    assert look(engine, times) == {Stage.FETCH: 1}
    commit(book, "task_002", "fetch")
    ends(engine, seconds=2.0, after=LATER)
    assert look(engine, times) == {Stage.FETCH: 2}
    clock[0] = 2 * LATER
    with transaction(engine) as db:
        (found,) = times.look(db).values()
    assert (found.buckets["0.01"], found.buckets["0.03"], found.buckets["1"], found.buckets["3"]) == (0, 1, 1, 2)
    assert found.buckets["+Inf"] == found.count == 2
    assert found.seconds == pytest.approx(2.02)


def test_a_result_that_is_replaced_after_it_was_added_up_is_still_counted_once(book, engine, times, clock):
    run_id = book.add_run(make_task(), MINER, "one", max_submissions=99)
    book.commit(book.claim(run_id, "fetch", ME), {"model": "a" * 64}, {})
    book.commit(book.claim(run_id, "data", ME), {}, {})
    clock[0] = LATER
    assert look(engine, times) == {Stage.FETCH: 1, Stage.DATA: 1}
    book.remake(book.claim(run_id, "train", ME), ["a" * 64], "damaged")
    book.commit(book.claim(run_id, "fetch", ME), {"model": "b" * 64}, {})
    assert look(engine, times)[Stage.FETCH] == 2
    clock[0] = 2 * LATER
    assert look(engine, times)[Stage.FETCH] == 2
