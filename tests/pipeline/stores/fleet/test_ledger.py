import pytest

from pipeline.errors import Misconfigured, Retryable
from pipeline.settings import Settings
from pipeline.stores.db.engine import open_database
from pipeline.stores.db.owners import this_process
from pipeline.stores.fleet.ledger import RunLedger
from pipeline.stores.fleet.records import Fenced, Stage, State
from tests.signed_tasks import MINERS, make_task

ME, MINER = this_process(), MINERS[0].address


def add(ledger, **changes) -> str:
    run_id = ledger.add_run(make_task(**changes), MINER, "one", max_submissions=99)
    assert run_id is not None
    return run_id


def round_of(number: int) -> dict:
    return {"round": number, "parentBlockHash": "0x" + "0" * 64 if number > 1 else None}


def test_it_opens_where_the_settings_say(tmp_path):
    ledger = RunLedger.open(Settings(home=tmp_path, lease_seconds=7))
    assert ledger.lease_seconds == 7
    assert (tmp_path / "ledger.sqlite").exists()
    ledger.close()


def test_a_ledger_that_is_away_may_come_back(tmp_path):
    (tmp_path / "ledger").mkdir()
    with pytest.raises(Retryable, match="ledger"):
        RunLedger(open_database(f"sqlite:///{tmp_path / 'ledger'}"))


def test_runs_are_listed_and_chosen(ledger):
    first, second = add(ledger), add(ledger, taskID="task_002")
    ledger.reject(ledger.claim(second, "fetch", ME), "no")
    assert [run.run_id for run in ledger.runs()] == [first, second]
    assert [run.run_id for run in ledger.runs(states=[State.REJECTED])] == [second]
    assert [run.run_id for run in ledger.runs(task_id="task_001")] == [first]
    assert [run.run_id for run in ledger.runs(limit=1)] == [second]
    assert ledger.counts() == {(State.QUEUED, Stage.FETCH): 1, (State.REJECTED, Stage.FETCH): 1}


def test_progress_shows_until_there_is_other_progress(ledger):
    run_id = add(ledger)
    claim = ledger.claim(run_id, "fetch", ME)
    ledger.report(claim, {"epoch": 2, "loss": 0.5})
    assert ledger.run(run_id).progress == {"epoch": 2, "loss": 0.5}
    ledger.commit(claim, {}, {})
    ledger.report(ledger.claim(run_id, "data", ME), {"samples": 9})
    assert ledger.run(run_id).progress == {"samples": 9}


@pytest.mark.parametrize("end", ["kill", "reject"])
def test_a_retried_run_has_fresh_attempts_and_keeps_what_is_done(ledger, end):
    run_id = add(ledger)
    ledger.commit(ledger.claim(run_id, "fetch", ME), {}, {})
    getattr(ledger, end)(ledger.claim(run_id, "data", ME), "no labels.json")
    run = ledger.retry(run_id)
    assert (run.state, run.stage, run.attempts) == (State.QUEUED, Stage.DATA, 0)
    assert ledger.claim(run_id, "data", ME)


def test_a_dropped_run_is_given_up_and_its_worker_fenced(ledger):
    run_id = add(ledger)
    claim = ledger.claim(run_id, "fetch", ME)
    assert ledger.drop(run_id).state == State.DROPPED
    with pytest.raises(Fenced):
        ledger.commit(claim, {}, {})
    assert ledger.claim(run_id, "fetch", ME) is None
    assert ledger.add_run(make_task(), MINER, "one") is None


def test_a_run_that_needs_no_person_is_not_retried_or_dropped(ledger):
    run_id = add(ledger)
    with pytest.raises(Misconfigured, match="is queued; only dead"):
        ledger.retry(run_id)
    for stage in Stage:
        ledger.commit(ledger.claim(run_id, stage, ME), {}, {})
    with pytest.raises(Misconfigured, match="is accepted"):
        ledger.drop(run_id)
    for action in (ledger.retry, ledger.drop, ledger.run):
        with pytest.raises(Misconfigured, match="no run none"):
            action("none")


def test_the_previous_run_is_the_latest_whose_bytes_may_have_left(ledger):
    for number in (1, 2, 3):
        claim = ledger.claim(add(ledger, **round_of(number)), "fetch", ME)
        if number < 3:
            ledger.note(claim, "payload", "a" * 64)
        ledger.commit(claim, {"residual": str(number)}, {})
    previous = ledger.previous_run(MINER, "digits", "task_001", before_round=4)
    assert (previous.round, previous.artifacts["residual"]) == (2, "2")
    assert ledger.previous_run(MINER, "digits", "task_001", before_round=2).round == 1
    assert ledger.previous_run(MINER, "digits", "task_001", before_round=1) is None
    assert ledger.previous_run(MINERS[1].address, "digits", "task_001", before_round=4) is None


@pytest.mark.parametrize("other", [{"dataset": "chestxray"}, {"taskID": "task_002"}], ids=["data set", "task"])
def test_a_residual_stays_with_its_data_set_and_its_task(ledger, other):
    sent = ledger.claim(add(ledger, **round_of(1), **other), "fetch", ME)
    ledger.note(sent, "payload", "a" * 64)
    assert ledger.previous_run(MINER, "digits", "task_001", before_round=2) is None
    names = {"dataset": "digits", "taskID": "task_001"} | other
    assert ledger.previous_run(MINER, names["dataset"], names["taskID"], before_round=2).run_id == sent.run_id


@pytest.mark.parametrize("end", ["reject", "kill"])
def test_a_refused_submission_may_come_back_and_one_that_never_left_does_not(ledger, end):
    first = ledger.claim(add(ledger, **round_of(1)), "fetch", ME)
    ledger.note(first, "payload", "a" * 64)
    getattr(ledger, end)(first, "the aggregator refused it")
    getattr(ledger, end)(ledger.claim(add(ledger, **round_of(2)), "fetch", ME), "before anything left")
    assert ledger.previous_run(MINER, "digits", "task_001", before_round=3).run_id == first.run_id
