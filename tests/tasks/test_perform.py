import threading
import time

import pytest

from pipeline.errors import Corrupt, Misconfigured, Rejected, Retryable
from pipeline.protocol.signing import SecretKey
from pipeline.settings import current
from pipeline.stages.contract import Output, Stage
from pipeline.stores.db.owners import this_process
from pipeline.stores.fleet.records import State
from tasks import progress
from tasks.app import app
from tasks.holdings import artifacts
from tests.signed_tasks import MINERS, make_task

ADDRESS = MINERS[0].address


def add(ledger, **changes) -> str:
    run_id = ledger.add_run(make_task(**changes), ADDRESS, "miner", max_submissions=9)
    assert run_id is not None
    return run_id


def do(stage: str, run_id: str) -> str:
    """One stage's task, in this thread, as Celery traces it."""
    import tasks.stages  # noqa: F401

    result = app.tasks[f"flfleet.{stage}"].apply((run_id,))
    return result.result if isinstance(result.result, str) else repr(result.result)


def test_progress_that_cannot_be_shown_ends_no_stage(fleet, stages, monkeypatch):
    def away(*_arguments):
        raise Retryable("ledger: it restarts")

    monkeypatch.setattr(type(fleet), "report", away)
    stages[Stage.FETCH] = lambda job: job.report({"epoch": 1}) or Output()
    run_id = add(fleet)
    do("fetch", run_id)
    assert fleet.run(run_id).stage is Stage.DATA


def test_no_stage_starts_on_a_full_disk_and_the_run_waits(fleet, stages, monkeypatch):
    monkeypatch.setenv("FLFLEET_MIN_FREE_BYTES", str(2**62))
    current.cache_clear()
    stages[Stage.FETCH] = lambda job: pytest.fail("a stage started")
    run_id = add(fleet)
    do("fetch", run_id)
    run = fleet.run(run_id)
    assert (run.state, run.attempts) == (State.WAITING, 0)
    assert "FLFLEET_MIN_FREE_BYTES" in run.error


def test_what_only_has_to_be_sent_leaves_from_a_full_disk_too(fleet, stages, monkeypatch):
    run_id = add(fleet)
    for stage in list(Stage)[:-1]:
        do(stage, run_id)
    claim = fleet.claim(run_id, Stage.SUBMIT, this_process())
    fleet.note(claim, "payload", "ab" * 32)
    fleet.defer(claim, "the aggregator is away", 0)
    monkeypatch.setenv("FLFLEET_MIN_FREE_BYTES", str(2**62))
    current.cache_clear()
    do("submit", run_id)
    assert fleet.run(run_id).state is State.ACCEPTED


def test_a_stage_that_is_elsewhere_at_work_is_left_alone(fleet, stages):
    run_id = add(fleet)
    fleet.claim(run_id, "fetch", "otherhost|boot|1|1")
    assert do("fetch", run_id).startswith("refused")
    assert fleet.run(run_id).state == State.RUNNING


def test_a_job_holds_what_its_stage_needs_and_only_submit_the_key(fleet, stages):
    jobs = {}
    for stage in Stage:
        stages[stage] = lambda job, stage=stage: (
            jobs.__setitem__(stage, job) or Output(artifacts={f"from-{stage}": "a" * 64}, figures={stage.value: 1})
        )
    run_id = add(fleet)
    for stage in Stage:
        assert do(stage, run_id) == "committed"
    job = jobs[Stage.SUBMIT]
    assert (job.run_id, job.identity.address, job.task) == (
        run_id,
        ADDRESS,
        make_task(publishedAt=job.task.published_at),
    )
    assert dict(job.inputs) == {f"from-{stage}": "a" * 64 for stage in list(Stage)[:6]}
    assert dict(job.figures) == {stage.value: 1 for stage in list(Stage)[:6]}
    assert isinstance(job.secret_key(), SecretKey)
    assert all(jobs[stage].secret_key is None for stage in list(Stage)[:6])


def raising(error):
    def run(_job):
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "state", "attempts"),
    [
        (Retryable("backend is away"), State.WAITING, 0),
        (Rejected("model of another hash"), State.REJECTED, 0),
        (Misconfigured("set FLFLEET_X"), State.DEAD, 0),
        (ZeroDivisionError("division by zero"), State.WAITING, 1),
        (MemoryError(), State.WAITING, 1),
    ],
    ids=["Retryable", "Rejected", "Misconfigured", "a bug", "no memory"],
)
def test_what_an_error_means_for_the_run(fleet, stages, error, state, attempts):
    stages[Stage.FETCH] = raising(error)
    run_id = add(fleet)
    do("fetch", run_id)
    run = fleet.run(run_id)
    assert (run.state, run.attempts) == (state, attempts)
    assert (str(error) or type(error).__name__) in run.error
    assert run.owner is None


def test_a_wish_to_be_asked_later_is_honoured(fleet, stages):
    stages[Stage.FETCH] = raising(Retryable("busy", retry_after=100))
    run_id = add(fleet)
    do("fetch", run_id)
    assert 99 < fleet.run(run_id).retry_in <= 120


def test_a_bug_is_tried_up_to_the_limit(fleet, stages):
    stages[Stage.FETCH] = raising(ZeroDivisionError("division by zero"))
    run_id = add(fleet)
    for _ in range(3):
        do("fetch", run_id)
        time.sleep(0.1)
    run = fleet.run(run_id)
    assert run.state == State.DEAD
    assert "3 attempts of stage fetch" in run.error
    assert "ZeroDivisionError: division by zero" in run.error


def test_what_is_damaged_for_ever_is_dead(fleet, stages, memory_broker):
    stages[Stage.FETCH] = raising(Corrupt("artifact x is damaged"))
    run_id = add(fleet)
    for _ in range(3):
        do("fetch", run_id)
    assert fleet.run(run_id).state == State.DEAD


def test_the_lease_is_renewed_while_the_stage_works(fleet, stages):
    refused = []

    def slow(job):
        time.sleep(1.0)  # the lease is 0.6 s
        refused.append(fleet.claim(job.run_id, "fetch", "otherhost|boot|1|1"))
        return Output()

    stages[Stage.FETCH] = slow
    run_id = add(fleet)
    assert do("fetch", run_id) == "committed"
    assert refused == [None]


def test_a_worker_whose_run_was_taken_learns_it_and_stops(fleet, stages):
    taken, reported = [], []

    def endless(job):
        taken.append(fleet.drop(job.run_id))
        for number in range(500):
            time.sleep(0.01)
            reported.append(number)
            job.report({"step": number})
        return Output()

    stages[Stage.FETCH] = endless
    run_id = add(fleet)
    assert do("fetch", run_id).startswith("fenced")
    assert len(reported) < 100
    assert fleet.run(run_id).state == State.DROPPED


def test_a_note_is_the_next_attempts_input(fleet, stages):
    seen = []

    def noting(job):
        seen.append(job.inputs.get("checkpoint"))
        job.note("checkpoint", "c" * 64)
        raise ZeroDivisionError

    stages[Stage.FETCH] = noting
    run_id = add(fleet)
    do("fetch", run_id)
    time.sleep(0.1)
    do("fetch", run_id)
    assert seen == [None, "c" * 64]


def test_progress_is_shown_at_most_once_an_interval(fleet, stages, monkeypatch):
    monkeypatch.setattr(progress, "INTERVAL_SECONDS", 0.05)
    shown, report = [], fleet.report
    monkeypatch.setattr(fleet, "report", lambda claim, what: shown.append(what) or report(claim, what))

    def training(job):
        for step in range(20):
            job.report({"step": step})
            time.sleep(0.01)
        return Output()

    stages[Stage.FETCH] = training
    run_id = add(fleet)
    do("fetch", run_id)
    assert shown[0] == {"step": 0}
    assert 2 <= len(shown) <= 8
    assert fleet.run(run_id).progress == shown[-1]


def test_the_previous_rounds_run_reaches_compress(fleet, stages):
    import json
    from pathlib import Path

    header = json.loads(Path("tests/vectors/ndd_fe_1.json").read_text())["cases"][0]["miners"][0]
    first = add(fleet)
    claim = fleet.claim(first, "fetch", this_process())
    fleet.note(claim, "payload", "a" * 64)
    fleet.commit(claim, {"header": artifacts().put(json.dumps(header["header"]).encode()), "residual": "b" * 64}, {})
    jobs = []
    stages[Stage.COMPRESS] = lambda job: jobs.append(job) or Output()
    second = add(fleet, round=2, parentBlockHash="0x" + "0" * 64)
    for stage in list(Stage)[:4]:
        do(stage, second)
    previous = jobs[0].previous
    assert (previous.round, previous.submission_hash) == (1, header["submissionHash"])
    assert previous.artifacts["residual"] == "b" * 64
    assert previous.task.round == 1


def test_a_miner_that_the_fleet_no_longer_has_is_the_operators_to_mend(fleet, stages):
    run_id = fleet.add_run(make_task(), MINERS[1].address, "gone")
    do("fetch", run_id)
    run = fleet.run(run_id)
    assert run.state == State.DEAD
    assert "restore its keystore" in run.error


def test_threads_of_leases_end_with_their_stage(fleet, stages):
    do("fetch", add(fleet))
    assert not [thread for thread in threading.enumerate() if thread.name == "lease"]


def test_the_use_of_a_key_stands_in_the_audit_log(fleet, stages):
    stages[Stage.SUBMIT] = lambda job: job.secret_key() and Output()
    run_id = add(fleet)
    for stage in Stage:
        do(stage, run_id)
    used = [entry.members for entry in fleet.audit_entries() if entry.members["event"] == "key used"]
    assert [(line["purpose"], line["run"], line["miner"]) for line in used] == [("submission", run_id, ADDRESS)]
