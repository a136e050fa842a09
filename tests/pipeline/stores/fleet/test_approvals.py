import pytest

from pipeline.errors import Misconfigured
from pipeline.stores.db.owners import this_process
from pipeline.stores.fleet.approvals import Verdict
from pipeline.stores.fleet.records import Stage, State
from tests.signed_tasks import MINERS, make_task

ME = this_process()
PARENT = "0x" + "0" * 64


def hold(ledger, task) -> str:
    run_id = ledger.add_run(task, MINERS[0].address, "m0", held=True)
    assert run_id is not None
    return run_id


def test_a_held_run_waits_for_a_word_and_no_worker_takes_it(ledger):
    task = make_task()
    run_id = hold(ledger, task)
    assert ledger.claim(run_id, Stage.FETCH, ME) is None
    assert ledger.due_for_sweep(idle_seconds=0, depths={}) == []
    assert ledger.held_tasks() == [task.task_hash]
    assert ledger.decide(task, Verdict.APPROVED, by="anna") == 1
    assert [due.run_id for due in ledger.due_for_sweep(idle_seconds=0, depths={})] == [run_id]
    assert ledger.claim(run_id, Stage.FETCH, ME) is not None


def test_a_refused_task_is_given_up_with_the_reason(ledger):
    task = make_task()
    run_id = hold(ledger, task)
    assert ledger.decide(task, Verdict.REFUSED, by="anna", reason="no consent") == 1
    assert (ledger.run(run_id).state, ledger.run(run_id).error) == (State.DROPPED, "refused by anna: no consent")
    (entry,) = ledger.audit_entries()
    assert (entry.members["event"], entry.members["by"]) == ("task refused", "anna")


def test_a_word_on_further_rounds_holds_while_the_terms_stay(ledger):
    first = make_task()
    hold(ledger, first)
    ledger.decide(first, Verdict.APPROVED, by="anna", further=True)
    later = {"round": 2, "parentBlockHash": PARENT, "modelSHA256": "0x" + "cd" * 32, "compression": {"ratio": 0.5}}
    assert ledger.approval(make_task(**later)).verdict is Verdict.APPROVED
    for changed in (
        {"dataset": "xray"},
        {"training": {"epochs": 50}},
        {"miners": [MINERS[0].address, MINERS[1].address]},
    ):
        assert ledger.approval(make_task(**later, **changed)) is None


def test_a_word_on_one_round_says_nothing_of_the_next(ledger):
    first = make_task()
    hold(ledger, first)
    ledger.decide(first, Verdict.APPROVED, by="anna")
    assert ledger.approval(first).by == "anna"
    assert ledger.approval(make_task(round=2, parentBlockHash=PARENT)) is None


def test_a_task_that_trains_already_is_not_refused_any_more(ledger):
    task = make_task()
    ledger.add_run(task, MINERS[0].address, "m0")
    with pytest.raises(Misconfigured, match="flfleet leave"):
        ledger.decide(task, Verdict.REFUSED, by="anna")
    assert ledger.approval(task) is None


def test_a_held_run_expires_with_its_round(ledger):
    run_id = hold(ledger, make_task(publishedAt=1))
    ledger.due_for_sweep(idle_seconds=0, depths={})
    assert ledger.run(run_id).state is State.EXPIRED
