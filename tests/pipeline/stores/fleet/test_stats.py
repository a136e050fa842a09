import time

import pytest

from pipeline.stores.db.engine import open_database
from pipeline.stores.db.owners import this_process
from pipeline.stores.fleet.records import Stage, State, WorkerSeen
from pipeline.stores.fleet.stats import Overview, Speed, epochs_of
from pipeline.stores.fleet.tallies import BUCKETS, UNBOUNDED, bucket_of
from tests.signed_tasks import MINERS, make_task

ME, MINER, GONE = this_process(), MINERS[0].address, "|".join([*this_process().split("|")[:2], "1", "1"])


@pytest.fixture
def overview(ledger_url):
    opened = Overview(open_database(ledger_url), max_attempts=3)
    yield opened
    opened.close()


def add(ledger, **changes) -> str:
    run_id = ledger.add_run(make_task(**changes), MINER, "one", max_submissions=99)
    assert run_id is not None
    return run_id


def through(ledger, run_id: str, *stages: str, **figures) -> None:
    for stage in stages:
        ledger.commit(ledger.claim(run_id, stage, ME), {}, figures)


def test_every_way_to_fail_is_counted_by_stage_and_reason(overview):
    run_id = add(overview)
    overview.defer(overview.claim(run_id, "fetch", ME), "away", 0.0)
    overview.fail(overview.claim(run_id, "fetch", ME), "a bug", 0.0)
    overview.reject(overview.claim(run_id, "fetch", ME), "no")
    other = add(overview, taskID="task_002")
    through(overview, other, "fetch")
    overview.kill(overview.claim(other, "data", ME), "set it")
    assert overview.events().failures == {
        ("fetch", "retryable"): 1,
        ("fetch", "error"): 1,
        ("fetch", "rejected"): 1,
        ("data", "misconfigured"): 1,
    }


def test_a_dead_workers_lease_and_the_sweep_that_finds_it_are_counted_once(overview):
    overview.claim(add(overview), "fetch", GONE)
    assert len(overview.due_for_sweep(idle_seconds=100)) == 1
    assert overview.due_for_sweep(idle_seconds=100) == []
    events = overview.events()
    assert events.leases_lost == {("fetch", "process gone"): 1}
    assert events.redriven == {("fetch", "worker lost"): 1}


def test_a_lease_that_another_worker_takes_over_is_counted_too(overview):
    run_id = add(overview)
    overview.claim(run_id, "fetch", GONE)
    assert overview.claim(run_id, "fetch", ME) is not None
    assert overview.events().leases_lost == {("fetch", "process gone"): 1}


def test_a_run_whose_deadline_passed_is_a_failure_of_its_stage(overview):
    add(overview, publishedAt=int(time.time()) - 9999)
    overview.due_for_sweep(idle_seconds=100)
    assert overview.events().failures == {("fetch", "expired"): 1}


def test_durations_are_counted_in_buckets(overview):
    through(overview, add(overview), "fetch", "data")
    times = overview.stage_times()
    assert set(times) == {Stage.FETCH, Stage.DATA}
    assert times[Stage.FETCH].count == times[Stage.FETCH].buckets[UNBOUNDED] == 1
    assert list(times[Stage.FETCH].buckets.values()) == sorted(times[Stage.FETCH].buckets.values())


def test_a_result_that_was_replaced_stays_counted(overview):
    run_id = add(overview)
    overview.commit(overview.claim(run_id, "fetch", ME), {"model": "a" * 64}, {})
    through(overview, run_id, "data")
    # The model is damaged: fetch makes it again, and it comes out otherwise, so data is due again too.
    overview.remake(overview.claim(run_id, "train", ME), ["a" * 64], "damaged")
    overview.commit(overview.claim(run_id, "fetch", ME), {"model": "b" * 64}, {})
    through(overview, run_id, "data")
    times = overview.stage_times()
    assert (times[Stage.FETCH].count, times[Stage.DATA].count) == (2, 2)
    assert times[Stage.DATA].buckets[UNBOUNDED] == 2


def test_a_duration_belongs_to_the_first_bucket_that_holds_it():
    assert bucket_of(0.0) == "0.01"
    assert bucket_of(BUCKETS[3]) == f"{BUCKETS[3]:g}"
    assert bucket_of(1e9) == UNBOUNDED


def test_the_oldest_that_waits_is_known_by_stage(overview):
    before = time.time()
    first, second = add(overview), add(overview, taskID="task_002")
    through(overview, second, "fetch")
    waiting = overview.waiting()
    assert {stage: entry.count for stage, entry in waiting.items()} == {Stage.FETCH: 1, Stage.DATA: 1}
    assert before - 1 < waiting[Stage.FETCH].since <= waiting[Stage.DATA].since
    overview.claim(first, "fetch", ME)
    assert Stage.FETCH not in overview.waiting()


def test_speeds_are_amounts_over_the_stages_own_seconds(overview):
    run_id = add(overview)
    for stage, figures in {
        "fetch": {"modelBytes": 5000},
        "data": {},
        "train": {},
        "compress": {"coordinates": 1000},
        "commit": {},
        "encrypt": {"ciphertextBytes": 330},
        "submit": {"payloadBytes": 400},
    }.items():
        claim = overview.claim(run_id, stage, ME)
        time.sleep(0.01)
        overview.commit(claim, {}, figures)
    speeds, spent = overview.speeds(), overview.run(run_id).seconds
    assert speeds[Stage.ENCRYPT].coordinates == pytest.approx(1000 / spent["encrypt"])
    assert speeds[Stage.ENCRYPT].bytes == pytest.approx(330 / spent["encrypt"])
    assert speeds[Stage.FETCH] == Speed(bytes=pytest.approx(5000 / spent["fetch"]))
    assert Stage.COMMIT not in speeds


def test_failed_runs_come_newest_first_and_with_those_that_try_again(overview):
    first, second, fine = add(overview), add(overview, taskID="task_002"), add(overview, taskID="task_003")
    overview.reject(overview.claim(first, "fetch", ME), "no")
    overview.fail(overview.claim(second, "fetch", ME), "a bug", 60.0)
    through(overview, fine, *Stage)
    assert [(run.run_id, run.state) for run in overview.failed_runs(10)] == [
        (second, State.WAITING),
        (first, State.REJECTED),
    ]
    assert [run.run_id for run in overview.failed_runs(1)] == [second]


def test_trainings_come_with_their_epochs(overview):
    run_id = add(overview)
    through(overview, run_id, "fetch", "data")
    overview.commit(overview.claim(run_id, "train", ME), {}, {"metrics": [{"loss": 2.0}, {"loss": 1.0}]})
    (trained,) = overview.trained_runs(5)
    assert [epoch["loss"] for epoch in epochs_of(trained)] == [2.0, 1.0]


def seen(name: str, pool: str, at: float) -> WorkerSeen:
    return WorkerSeen(name=name, pool=pool, host="h", pid=1, processes=2, devices=["cpu"], started_at=at, seen_at=at)


def test_workers_are_shown_by_stage_until_they_are_long_silent(overview):
    now = time.time()
    overview.say_present(seen("submit@h", "submit", now))
    overview.say_present(seen("old@h", "fetch", now - 10_000))
    overview.say_present(seen("fetch@h", "fetch", now))
    overview.say_present(seen("fetch@h", "fetch", now + 1))
    assert [(worker.name, worker.seen_at) for worker in overview.workers()] == [
        ("fetch@h", pytest.approx(now + 1)),
        ("submit@h", pytest.approx(now)),
    ]
