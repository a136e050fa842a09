import multiprocessing
import time

import pytest

from pipeline.stores.db.engine import open_database
from pipeline.stores.db.owners import this_process
from pipeline.stores.fleet import intake
from pipeline.stores.fleet.ledger import RunLedger
from pipeline.stores.fleet.records import Refusal, State
from tests.signed_tasks import MINERS, make_task

ME, MINER = this_process(), MINERS[0].address


def refusal(number: int = 0, *reasons: str, miner: str = MINER) -> Refusal:
    return Refusal(
        task_hash=f"0x{number:064x}",
        miner=miner,
        task_id="t",
        round=1,
        reasons=reasons or ("no",),
        created_at=float(number),
    )


def test_a_run_is_made_once(ledger):
    task = make_task()
    run_id = ledger.add_run(task, MINER, "one")
    assert ledger.add_run(task, MINER, "one") is None
    assert ledger.add_run(task, MINERS[1].address, "two") not in (None, run_id)
    assert ledger.miners_of(task.task_hash) == {MINER, MINERS[1].address}
    assert ledger.run(run_id).state == State.QUEUED


def test_the_first_task_of_a_round_stands(ledger):
    first, second = make_task(), make_task(minMiners=4)
    assert ledger.add_task(first) == first.task_hash
    assert ledger.add_task(second) == first.task_hash
    assert ledger.standing_task("task_001", 1) == first.task_hash
    assert ledger.standing_task("task_001", 2) is None
    assert ledger.add_run(second, MINER, "one") is None


def test_a_task_comes_back_as_it_was_signed(open_ledger):
    task = make_task(note="an unknown member, kept and hashed: Grüße")
    open_ledger().add_task(task)
    again = open_ledger().task(task.task_hash)
    assert again == task
    again.check_signature()
    with pytest.raises(KeyError):
        open_ledger().task("0x00")


def test_a_second_task_over_one_model_is_not_run_by_the_same_miner(ledger):
    assert ledger.add_run(make_task(), MINER, "one")
    other = make_task(taskID="task_002")
    assert ledger.submissions_for_model(MINER, "digits", "ab" * 32) == 1
    assert ledger.add_run(other, MINER, "one") is None
    assert ledger.add_run(other, MINERS[1].address, "two")
    assert ledger.add_run(other, MINER, "one", max_submissions=2)
    assert ledger.add_run(make_task(taskID="task_003", dataset="other"), MINER, "one")
    assert ledger.add_run(make_task(taskID="task_004", modelSHA256="0x" + "cd" * 32), MINER, "one")


def test_the_run_itself_is_no_submission_before_it(ledger):
    task = make_task()
    ledger.add_run(task, MINER, "one")
    assert ledger.submissions_for_model(MINER, "digits", "ab" * 32, but=task.task_hash) == 0


@pytest.mark.parametrize("sent", [False, True])
def test_a_run_that_ended_counts_only_if_its_bytes_may_have_left(ledger, sent):
    run_id = ledger.add_run(make_task(), MINER, "one")
    claim = ledger.claim(run_id, "fetch", ME)
    if sent:
        ledger.note(claim, "payload", "a" * 64)
    ledger.reject(claim, "no")
    assert ledger.submissions_for_model(MINER, "digits", "ab" * 32) == sent


def test_a_refusal_is_news_once(ledger):
    assert ledger.refuse(refusal(1, "a", "b"))
    assert not ledger.refuse(refusal(1, "a", "b"))
    assert ledger.refuse(refusal(1, "a"))
    assert ledger.refuse(refusal(1, "a", miner=MINERS[1].address))
    assert [each.reasons for each in ledger.refusals()] == [("a",), ("a",)]


def test_a_refusal_goes_when_its_run_comes(ledger):
    task = make_task()
    ledger.refuse(Refusal(task_hash=task.task_hash, miner=MINER, task_id="t", round=1, reasons=("x",), created_at=1.0))
    ledger.add_run(task, MINER, "one")
    assert ledger.refusals() == []


def test_refusals_are_kept_in_bounds(ledger, monkeypatch):
    monkeypatch.setattr(intake, "MAX_REFUSALS", 5)
    for number in range(8):
        ledger.refuse(refusal(number))
    assert [each.created_at for each in ledger.refusals()] == [7.0, 6.0, 5.0, 4.0, 3.0]


def add_all(url, queue):
    ledger = RunLedger(open_database(url))
    now = int(time.time()) // 1000 * 1000
    tasks = [make_task(taskID=f"task_{number}", publishedAt=now) for number in range(10)]
    queue.put(sum(ledger.add_run(task, MINER, "one") is not None for task in tasks))


def test_of_many_processes_one_adds_the_only_run_over_a_model(ledger_url, open_ledger):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    workers = [context.Process(target=add_all, args=(ledger_url, queue), daemon=True) for _ in range(3)]
    for worker in workers:
        worker.start()  # each also makes the tables, at the same time
    assert sum(queue.get(timeout=30) for _ in workers) == 1
    for worker in workers:
        worker.join()
    assert len(open_ledger().runs()) == 1
