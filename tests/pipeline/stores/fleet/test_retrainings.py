import subprocess
import sys
import tracemalloc

import pytest

from pipeline.stores.db.owners import this_process
from pipeline.stores.fleet.controls import EVERYTHING, Kind
from pipeline.stores.fleet.records import Fenced, Stage, State
from pipeline.stores.fleet.retraining_records import Turn
from pipeline.stores.fleet.tables import runs, tasks
from tests.signed_tasks import MINERS, make_task

ME = this_process()
ELSEWHERE = "otherhost|boot|1|1"
PARENT = "0x" + "0" * 64


def add(ledger, name="task_001", miner=0, **changes) -> str:
    run_id = ledger.add_run(make_task(taskID=name, **changes), MINERS[miner].address, f"m{miner}", max_submissions=99)
    assert run_id is not None
    return run_id


def enqueue(ledger, batch="batch", priority=5, **which) -> int:
    return sum(ledger.add_retrainings(batch=batch, priority=priority, **which))


def many_runs(ledger, count: int) -> None:
    """So many runs of so many tasks, written as quickly as a test can."""
    first = add(ledger, "task-000000")
    with ledger._transaction() as db:
        its_run = db.execute(runs.select().where(runs.c.run_id == first)).one()._asdict()
        its_task = db.execute(tasks.select()).one()._asdict()
        names = [f"task-{number:06}" for number in range(1, count)]
        db.execute(tasks.insert(), [its_task | {"task_hash": name, "task_id": name} for name in names])
        db.execute(
            runs.insert(), [its_run | {"run_id": f"run-{name}", "task_hash": name, "task_id": name} for name in names]
        )


def test_the_newest_round_of_every_miner_is_trained_again(ledger):
    add(ledger)
    newest = [add(ledger, round=2, parentBlockHash=PARENT, miner=miner) for miner in (0, 1)]
    add(ledger, "another", dataset="xray")
    assert enqueue(ledger, task_ids=["task_001"]) == 2
    assert {row.run_id for row in ledger.retrainings("batch")} == set(newest)
    assert {row.round for row in ledger.retrainings("batch")} == {2}


def test_a_data_set_or_everything_may_be_asked_for(ledger):
    add(ledger)
    add(ledger, "another", dataset="xray")
    assert enqueue(ledger, batch="a", dataset="xray") == 1
    assert enqueue(ledger, batch="b") == 1  # the other one waits already
    assert ledger.retraining_counts() == {Turn.QUEUED: 2}


def test_a_run_is_not_touched_by_its_retraining(ledger):
    run_id = add(ledger)
    before = ledger.run(run_id)
    enqueue(ledger)
    ledger.finish_retraining(ledger.next_retraining(ME), {"losses": [2.0, 1.0]})
    assert ledger.run(run_id) == before


def test_tasks_without_a_run_are_named(ledger):
    add(ledger)
    assert ledger.unknown_tasks(["zzz", "task_001", "aaa"]) == ["aaa", "zzz"]


def test_lower_numbers_go_first_and_the_older_among_equals(ledger):
    for name, priority in (("late", 7), ("first", 0), ("second", 5)):
        add(ledger, name)
        enqueue(ledger, batch=name, priority=priority, task_ids=[name])
    order = [ledger.task(ledger.next_retraining(ME).task_hash).task_id for _ in range(3)]
    assert order == ["first", "second", "late"]
    assert ledger.next_retraining(ME) is None


def test_what_is_cancelled_can_write_nothing_more(ledger):
    add(ledger)
    enqueue(ledger)
    claim = ledger.next_retraining(ME)
    assert ledger.cancel_retrainings(task_id="task_001") == 1
    for act in (
        lambda: ledger.renew_retraining(claim),
        lambda: ledger.report_retraining(claim, {"epoch": 1}),
        lambda: ledger.finish_retraining(claim, {"losses": [1.0]}),
        lambda: ledger.defer_retraining(claim, "later", 1),
    ):
        with pytest.raises(Fenced):
            act()
    (row,) = ledger.retrainings("batch")
    assert (row.state, row.figures) == (Turn.CANCELLED, {})
    assert ledger.cancel_retrainings() == 0


def test_a_dead_workers_training_is_taken_back_and_counted(ledger):
    code = "from pipeline.stores.db.owners import this_process; print(this_process())"
    gone = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    add(ledger)
    enqueue(ledger)
    for attempt in (1, 2):
        assert ledger.next_retraining(gone)
        assert ledger.waiting_retrainings() == 1
        (row,) = ledger.retrainings("batch")
        assert (row.state, row.attempts) == (Turn.QUEUED, attempt)
    assert ledger.next_retraining(gone)
    assert ledger.waiting_retrainings() == 0
    (row,) = ledger.retrainings("batch")
    assert row.state is Turn.FAILED
    assert "FLFLEET_MAX_ATTEMPTS" in row.error


def test_a_checkpoint_is_where_the_next_claim_goes_on_and_attempts_start_from_none(ledger):
    add(ledger)
    enqueue(ledger)
    ledger.defer_retraining(ledger.next_retraining(ME), "backend is away", 0)
    claim = ledger.next_retraining(ME)
    assert (claim.attempts, claim.checkpoint) == (1, None)
    ledger.note_retraining(claim, "c" * 64)
    assert ledger.retraining_checkpoints() == {"c" * 64}
    ledger.defer_retraining(claim, "backend is away", 0)
    claim = ledger.next_retraining(ME)
    assert (claim.attempts, claim.checkpoint) == (1, "c" * 64)
    ledger.defer_retraining(claim, "it is damaged", 0, afresh=True)
    assert ledger.next_retraining(ME).checkpoint is None


@pytest.mark.parametrize("end", ["finish", "fail", "cancel"])
def test_what_has_ended_names_no_checkpoint(ledger, end):
    add(ledger)
    enqueue(ledger)
    claim = ledger.next_retraining(ME)
    ledger.note_retraining(claim, "c" * 64)
    {
        "finish": lambda: ledger.finish_retraining(claim, {}),
        "fail": lambda: ledger.fail_retraining(claim, "no"),
        "cancel": ledger.cancel_retrainings,
    }[end]()
    assert ledger.retraining_checkpoints() == set()


def test_who_gives_way_keeps_its_turn_and_no_attempt_is_counted(ledger):
    for name in ("first", "second"):
        add(ledger, name)
        enqueue(ledger, batch=name)
    claim = ledger.next_retraining(ME)
    ledger.note_retraining(claim, "c" * 64)
    ledger.give_back_retraining(claim)
    again = ledger.next_retraining(ME)
    assert (again.run_id, again.attempts, again.checkpoint) == (claim.run_id, 0, "c" * 64)
    with pytest.raises(Fenced):
        ledger.give_back_retraining(claim)


def test_peers_are_of_the_same_miner_data_set_and_priority_and_fresh(ledger):
    add(ledger, "tried")
    enqueue(ledger)
    ledger.defer_retraining(ledger.next_retraining(ME), "later", 60)
    add(ledger, "first")
    enqueue(ledger)
    first = ledger.next_retraining(ME)
    for name, changes, priority in (
        ("alike", {}, 5),
        ("another miner", {"miner": 1}, 5),
        ("another data set", {"dataset": "xray"}, 5),
        ("less urgent", {}, 6),
        ("unlike", {}, 5),
        ("alike too", {}, 5),
        ("one too many", {}, 5),
    ):
        add(ledger, name.replace(" ", "-"), **changes)
        enqueue(ledger, priority=priority, task_ids=[name.replace(" ", "-")])
    unlike = next(row.run_id for row in ledger.retrainings() if row.task_id == "unlike")
    task_hash = ledger.run(unlike).task_hash
    peers = ledger.peers_of(first, ME, most=2, is_alike=lambda its: its != task_hash)
    assert [ledger.task(peer.task_hash).task_id for peer in peers] == ["alike", "alike-too"]
    assert ledger.retraining_counts()[Turn.RUNNING] == 3


def test_no_one_is_two_claims_peer(ledger):
    for name in ("one", "two", "three"):
        add(ledger, name)
    enqueue(ledger)
    first, second = ledger.next_retraining(ME), ledger.next_retraining(ME)
    take = lambda claim: ledger.peers_of(claim, ME, most=9, is_alike=lambda _its: True)  # noqa: E731
    assert [len(take(first)), len(take(second))] == [1, 0]


def test_several_are_written_at_once_and_each_is_fenced_by_itself(ledger):
    for name in ("one", "two"):
        add(ledger, name)
    enqueue(ledger)
    one, two = ledger.next_retraining(ME), ledger.next_retraining(ME)
    ledger.cancel_retrainings(ids=[one.run_id])
    assert ledger.report_retrainings([(one, {"epoch": 1}), (two, {"epoch": 1})]) == {one.run_id}
    assert ledger.finish_retrainings([(one, {"losses": [1.0]}), (two, {"losses": [1.0]})]) == {one.run_id}
    assert ledger.retraining_counts() == {Turn.CANCELLED: 1, Turn.DONE: 1}


def test_a_round_waits_while_its_training_is_due_and_nobody_takes_it(ledger):
    run_id = add(ledger)
    assert not ledger.round_waits(0)  # it is to be fetched first
    for stage in (Stage.FETCH, Stage.DATA):
        ledger.commit(ledger.claim(run_id, stage, ME), {}, {})
    assert ledger.round_waits(0)
    assert not ledger.round_waits(60)
    ledger.stop(Kind.POOL, Stage.TRAIN.value, by="anna")
    assert not ledger.round_waits(0)
    ledger.resume(Kind.POOL, Stage.TRAIN.value, by="anna")
    assert ledger.claim(run_id, Stage.TRAIN, ME)
    assert not ledger.round_waits(0)


def test_a_live_worker_of_another_host_keeps_its_training(ledger):
    add(ledger)
    enqueue(ledger)
    claim = ledger.next_retraining(ELSEWHERE)
    assert ledger.waiting_retrainings() == 0
    ledger.renew_retraining(claim)
    ledger.report_retraining(claim, {"epoch": 1})
    (row,) = ledger.retrainings("batch")
    assert (row.state, row.progress) == (Turn.RUNNING, {"epoch": 1})


def test_what_may_work_later_waits_and_fails_at_the_limit(ledger):
    add(ledger)
    enqueue(ledger)
    assert ledger.defer_retraining(ledger.next_retraining(ME), "backend is away", 60) is Turn.QUEUED
    assert ledger.next_retraining(ME) is None
    assert ledger.waiting_retrainings() == 0


@pytest.mark.parametrize(
    ("kind", "name"), [(Kind.POOL, Stage.TRAIN.value), (Kind.DATASET, "digits"), (Kind.FLEET, EVERYTHING)]
)
def test_what_is_paused_is_not_trained(ledger, kind, name):
    add(ledger)
    enqueue(ledger)
    ledger.stop(kind, name, by="anna")
    assert ledger.waiting_retrainings() == 0
    assert ledger.next_retraining(ME) is None
    assert ledger.resume(kind, name, by="anna")
    assert ledger.next_retraining(ME) is not None


def test_thousands_are_enqueued_in_chunks_and_twice_is_once(open_ledger):
    ledger = open_ledger()
    many_runs(ledger, 3000)
    tracemalloc.start()
    chunks = list(ledger.add_retrainings(batch="batch", priority=5))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (sum(chunks), max(chunks)) == (3000, 500)
    # 500 rows of a few hundred bytes each, and not 3,000.
    assert peak < 6e6
    assert enqueue(ledger, batch="again") == 0
    assert ledger.waiting_retrainings() == 3000
    assert sum(1 for _ in ledger.retrainings("batch")) == 3000


def test_a_run_that_was_dropped_is_still_trained_for_what_it_tells(ledger):
    run_id = add(ledger)
    ledger.drop(run_id)
    assert enqueue(ledger) == 1
    assert ledger.run(run_id).state is State.DROPPED
