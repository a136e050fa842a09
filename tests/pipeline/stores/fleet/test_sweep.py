import threading
import time

import pytest
from sqlalchemy import text

from pipeline.stores.db.owners import this_process
from pipeline.stores.fleet import sweep
from pipeline.stores.fleet.records import Due, Fenced, Stage, State
from tests.signed_tasks import MINERS, make_task

ME, ELSEWHERE = this_process(), "otherhost|boot|1|1"
#: A process of this host that does not run.
GONE = "|".join([*ME.split("|")[:2], "4194303", "1"])


def add(ledger, number=0, **changes) -> str:
    run_id = ledger.add_run(
        make_task(taskID=f"task_{number}", **changes), MINERS[0].address, "one", max_submissions=10_000
    )
    assert run_id is not None
    return run_id


def late(ledger, number=0, seconds=3700) -> str:
    return add(ledger, number, publishedAt=int(time.time()) - seconds)


def test_a_run_at_work_is_left_alone(ledger):
    ledger.claim(add(ledger), "fetch", ELSEWHERE)
    assert ledger.due_for_sweep(idle_seconds=0, depths={}) == []


def test_a_dead_worker_of_this_host_is_seen_at_once(ledger):
    run_id = add(ledger)
    claim = ledger.claim(run_id, "fetch", GONE)
    due = Due(run_id=run_id, stage=Stage.FETCH, token=1, label="task_0, round 1, one")
    assert ledger.due_for_sweep(idle_seconds=60, depths={}) == [due]
    assert ledger.due_for_sweep(idle_seconds=60, depths={}) == []
    assert ledger.run(run_id).attempts == 1
    with pytest.raises(Fenced):
        ledger.commit(claim, {}, {})


def test_an_expired_lease_is_taken_back(open_ledger):
    ledger = open_ledger(lease_seconds=0.05)
    run_id = add(ledger)
    ledger.claim(run_id, "fetch", ELSEWHERE)
    time.sleep(0.06)
    assert [due.run_id for due in ledger.due_for_sweep(idle_seconds=60, depths={})] == [run_id]
    assert ledger.run(run_id).state == State.QUEUED


def test_attempts_at_the_limit_are_dead_and_not_driven(open_ledger):
    ledger = open_ledger(max_attempts=1)
    run_id = add(ledger)
    ledger.claim(run_id, "fetch", GONE)
    assert ledger.due_for_sweep(idle_seconds=0, depths={}) == []
    assert ledger.run(run_id).state == State.DEAD


def test_a_waiting_run_is_woken_when_its_time_has_come(ledger):
    soon, later = add(ledger, 1), add(ledger, 2)
    ledger.defer(ledger.claim(soon, "fetch", ME), "away", 0)
    ledger.defer(ledger.claim(later, "fetch", ME), "away", 60)
    assert [due.run_id for due in ledger.due_for_sweep(idle_seconds=60, depths={})] == [soon]


def test_a_wait_of_a_clock_before_a_reboot_is_over(ledger, ledger_url):
    run_id = add(ledger)
    ledger.defer(ledger.claim(run_id, "fetch", ME), "away", 60)
    with ledger._transaction() as db:
        db.execute(text("UPDATE runs SET not_before = not_before + 1000000"))
    assert [due.run_id for due in ledger.due_for_sweep(idle_seconds=60, depths={})] == [run_id]


def test_a_queued_run_whose_message_is_gone_is_driven_again_once(ledger):
    run_id = add(ledger)
    assert ledger.due_for_sweep(idle_seconds=60, depths={}) == []
    time.sleep(0.02)
    assert [due.run_id for due in ledger.due_for_sweep(idle_seconds=0.01, depths={})] == [run_id]
    assert ledger.due_for_sweep(idle_seconds=60, depths={}) == []


def test_a_long_queue_is_not_doubled(ledger):
    run_ids = [add(ledger, number) for number in range(4)]
    time.sleep(0.02)
    assert ledger.due_for_sweep(idle_seconds=0.01, depths={"fetch": 4}) == []
    lost = ledger.due_for_sweep(idle_seconds=0.01, depths={"fetch": 3})
    assert [due.run_id for due in lost] == run_ids[:1]


def test_without_the_queues_lengths_the_sweep_is_patient(ledger):
    run_id = add(ledger)
    time.sleep(0.02)
    assert ledger.due_for_sweep(idle_seconds=0.01) == []
    time.sleep(0.1)
    assert [due.run_id for due in ledger.due_for_sweep(idle_seconds=0.01)] == [run_id]


def test_one_sweep_drives_a_bounded_number(ledger, monkeypatch):
    monkeypatch.setattr(sweep, "SWEEP_LIMIT", 2)
    for number in range(5):
        add(ledger, number)
    assert [len(ledger.due_for_sweep(idle_seconds=0, depths={})) for _ in range(2)] == [2, 2]


@pytest.mark.parametrize("state", ["queued", "waiting", "running"])
def test_a_run_expires_at_its_deadline_and_its_worker_is_fenced(ledger, state):
    run_id = late(ledger)
    claim = None if state == "queued" else ledger.claim(run_id, "fetch", ELSEWHERE)
    if state == "waiting":
        with ledger._transaction() as db:
            db.execute(text("UPDATE runs SET state = 'waiting', error = 'backend is away'"))
    assert ledger.due_for_sweep(idle_seconds=0, depths={}) == []
    run = ledger.run(run_id)
    assert run.state == State.EXPIRED
    assert run.error.startswith("submissions closed in stage fetch")
    assert ("backend is away" in run.error) == (state == "waiting")
    if claim:
        with pytest.raises(Fenced):
            ledger.note(claim, "payload", "a" * 64)


def test_a_run_whose_bytes_may_have_left_has_time_to_get_its_receipt(ledger):
    recent, old = late(ledger, 1), late(ledger, 2, seconds=3600 + 601)
    for run_id in (recent, old):
        ledger.note(ledger.claim(run_id, "fetch", ELSEWHERE), "payload", "a" * 64)
    ledger.due_for_sweep(idle_seconds=0, depths={})
    assert [ledger.run(run_id).state for run_id in (recent, old)] == [State.RUNNING, State.EXPIRED]


def test_two_sweepers_never_name_one_run_twice(open_ledger):
    ledgers = [open_ledger(), open_ledger()]
    run_ids = [add(ledgers[0], number) for number in range(30)]
    for run_id in run_ids[:10]:
        ledgers[0].claim(run_id, "fetch", GONE)
    for run_id in run_ids[10:20]:
        ledgers[0].defer(ledgers[0].claim(run_id, "fetch", ME), "away", 0)
    time.sleep(0.3)
    barrier, found = threading.Barrier(2), []

    def sweeper(ledger) -> None:
        barrier.wait()
        found.extend(due.run_id for due in ledger.due_for_sweep(idle_seconds=0.25, depths={}))

    threads = [threading.Thread(target=sweeper, args=(ledger,)) for ledger in ledgers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == sorted(run_ids)
