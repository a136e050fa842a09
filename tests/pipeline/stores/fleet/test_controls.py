import pytest

from pipeline.stores.db.owners import this_process
from pipeline.stores.fleet.controls import EVERYTHING, Kind
from pipeline.stores.fleet.records import Stage, State
from tests.signed_tasks import MINERS, make_task

ME = this_process()


def add(ledger, **changes) -> str:
    run_id = ledger.add_run(make_task(**changes), MINERS[0].address, "one", max_submissions=99)
    assert run_id is not None
    return run_id


@pytest.mark.parametrize(("kind", "name"), [(Kind.POOL, "fetch"), (Kind.DATASET, "digits"), (Kind.FLEET, EVERYTHING)])
def test_nothing_begins_under_a_pause_and_all_goes_on_after_it(ledger, kind, name):
    run_id = add(ledger)
    assert ledger.stop(kind, name, by="anna", reason="the scanner is serviced")
    assert not ledger.stop(kind, name, by="ben")
    assert ledger.claim(run_id, "fetch", ME) is None
    assert (ledger.run(run_id).state, ledger.run(run_id).attempts) == (State.QUEUED, 0)
    (control,) = ledger.stops()
    assert (control.by, control.reason) == ("anna", "the scanner is serviced")
    assert ledger.resume(kind, name, by="anna")
    assert not ledger.resume(kind, name, by="anna")
    assert ledger.claim(run_id, "fetch", ME) is not None


def test_other_pools_and_data_sets_go_on(ledger):
    run_id = add(ledger)
    ledger.stop(Kind.POOL, "train", by="anna")
    ledger.stop(Kind.DATASET, "xray", by="anna")
    assert ledger.claim(run_id, "fetch", ME) is not None


def test_what_runs_when_the_pause_comes_is_finished(ledger):
    run_id = add(ledger)
    claim = ledger.claim(run_id, "fetch", ME)
    ledger.stop(Kind.FLEET, EVERYTHING, by="anna")
    ledger.renew(claim)
    assert ledger.commit(claim, {}, {}) is Stage.DATA
    assert ledger.claim(run_id, "data", ME) is None


def test_the_sweep_sends_no_messages_for_what_is_paused(ledger):
    add(ledger)
    waiting = add(ledger, taskID="waiting")
    ledger.defer(ledger.claim(waiting, "fetch", ME), "later", 0)
    ledger.stop(Kind.DATASET, "digits", by="anna")
    assert ledger.due_for_sweep(idle_seconds=0, depths={}) == []
    ledger.resume(Kind.DATASET, "digits", by="anna")
    assert len({due.run_id for due in ledger.due_for_sweep(idle_seconds=0, depths={})}) == 2


def test_a_paused_run_still_expires(ledger):
    run_id = add(ledger, publishedAt=1)
    ledger.stop(Kind.FLEET, EVERYTHING, by="anna")
    ledger.due_for_sweep(idle_seconds=0, depths={})
    assert ledger.run(run_id).state is State.EXPIRED
