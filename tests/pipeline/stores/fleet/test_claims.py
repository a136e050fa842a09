import multiprocessing
import subprocess
import sys
import threading
import time

import pytest

from pipeline.stores.db.engine import open_database
from pipeline.stores.db.owners import this_process
from pipeline.stores.fleet.ledger import RunLedger
from pipeline.stores.fleet.records import Fenced, Stage, State
from tests.signed_tasks import MINERS, make_task

ME = this_process()
#: A live worker of another host: only its lease can tell.
ELSEWHERE = "otherhost|boot|1|1"
A, B = "a" * 64, "b" * 64


def add(ledger, **changes) -> str:
    run_id = ledger.add_run(make_task(**changes), MINERS[0].address, "one", max_submissions=99)
    assert run_id is not None
    return run_id


def dead_process() -> str:
    """The owner's text of a process of this host that has ended."""
    code = "from pipeline.stores.db.owners import this_process; print(this_process())"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def advance(ledger, run_id, *stages, artifacts=None):
    for stage in stages:
        ledger.commit(ledger.claim(run_id, stage, ME), (artifacts or {}).get(stage, {}), {})


def test_another_process_may_keep_the_lease_of_one_that_works(open_ledger):
    ledger = open_ledger(lease_seconds=0.4)
    run_id = add(ledger)
    claim = ledger.claim(run_id, "fetch", ELSEWHERE)
    assert not ledger.keep(run_id, ELSEWHERE)  # fresh enough
    for _ in range(4):
        time.sleep(0.2)
        assert ledger.keep(run_id, ELSEWHERE)
        assert ledger.claim(run_id, "fetch", ME) is None
    assert not ledger.keep(run_id, ME)
    ledger.commit(claim, {}, {})
    time.sleep(0.2)
    assert not ledger.keep(run_id, ELSEWHERE)


def test_a_run_goes_through_all_stages_to_accepted(ledger):
    run_id = add(ledger)
    for number, stage in enumerate(Stage):
        claim = ledger.claim(run_id, stage, ME)
        assert claim.token == number + 1
        due = ledger.commit(claim, {f"artifact-{stage}": A}, {f"figure-{stage}": number})
    assert due is None
    run = ledger.run(run_id)
    assert (run.state, run.stage, run.owner, run.attempts) == (State.ACCEPTED, None, None, 0)
    assert [result.stage for result in run.stages] == list(Stage)
    assert run.figures["figure-submit"] == 6
    assert run.artifacts["artifact-train"] == A
    assert all(0 <= seconds < 60 for seconds in run.seconds.values())


def test_a_stage_sees_what_earlier_stages_made(ledger):
    run_id = add(ledger)
    ledger.commit(ledger.claim(run_id, "fetch", ME), {"model": A}, {"bytes": 7})
    claim = ledger.claim(run_id, "data", ME)
    assert dict(claim.inputs) == {"model": A}
    assert dict(claim.figures) == {"bytes": 7}


def test_a_stage_that_is_not_due_is_refused(ledger):
    run_id = add(ledger)
    assert ledger.claim(run_id, "data", ME) is None
    advance(ledger, run_id, "fetch")
    assert ledger.claim(run_id, "fetch", ME) is None
    assert ledger.claim("no-such-run", "fetch", ME) is None


def test_a_live_lease_refuses_a_second_claim(ledger):
    run_id = add(ledger)
    assert ledger.claim(run_id, "fetch", ELSEWHERE)
    assert ledger.claim(run_id, "fetch", ME) is None
    assert ledger.run(run_id).owner == ELSEWHERE


def test_an_expired_lease_is_taken_over_and_fences_the_old_owner(open_ledger):
    ledger = open_ledger(lease_seconds=0.05)
    run_id = add(ledger)
    old = ledger.claim(run_id, "fetch", ELSEWHERE)
    time.sleep(0.06)
    new = ledger.claim(run_id, "fetch", ME)
    assert (new.token, new.attempts) == (old.token + 1, 1)
    for action in (
        lambda: ledger.commit(old, {}, {}),
        lambda: ledger.renew(old),
        lambda: ledger.report(old, {}),
        lambda: ledger.note(old, "payload", A),
        lambda: ledger.defer(old, "later", 1),
        lambda: ledger.fail(old, "bug", 1),
        lambda: ledger.reject(old, "no"),
        lambda: ledger.kill(old, "no"),
        lambda: ledger.remake(old, [], "damaged"),
    ):
        with pytest.raises(Fenced):
            action()
    assert ledger.run(run_id).notes == {}
    assert ledger.commit(new, {}, {}) == Stage.DATA


def test_a_renewed_lease_lives_on(open_ledger):
    ledger = open_ledger(lease_seconds=0.3)
    run_id = add(ledger)
    claim = ledger.claim(run_id, "fetch", ELSEWHERE)
    for _ in range(3):
        time.sleep(0.15)
        ledger.renew(claim)
    assert ledger.claim(run_id, "fetch", ME) is None


def test_a_dead_process_of_this_host_is_taken_over_at_once(ledger):
    run_id = add(ledger)
    assert ledger.claim(run_id, "fetch", dead_process())
    claim = ledger.claim(run_id, "fetch", ME)
    assert claim.attempts == 1
    assert "ended without a word in stage fetch" in ledger.run(run_id).error


def test_the_claims_of_workers_that_die_are_limited(ledger):
    run_id, dead = add(ledger), dead_process()
    for _ in range(3):
        assert ledger.claim(run_id, "fetch", dead)
    assert ledger.claim(run_id, "fetch", ME) is None
    run = ledger.run(run_id)
    assert (run.state, run.attempts) == (State.DEAD, 3)
    assert "FLFLEET_MAX_ATTEMPTS" in run.error


def test_attempts_start_anew_with_every_stage_and_every_new_checkpoint(ledger):
    run_id, dead = add(ledger), dead_process()
    assert ledger.claim(run_id, "fetch", dead)
    assert ledger.claim(run_id, "fetch", dead)
    advance(ledger, run_id, "fetch")
    assert ledger.run(run_id).attempts == 0
    for digest in (A, B, A, B, A):
        claim = ledger.claim(run_id, "data", dead)
        assert claim.attempts <= 1
        ledger.note(claim, "checkpoint", digest)
    assert ledger.claim(run_id, "data", ME).inputs["checkpoint"] == A


def test_a_note_that_says_nothing_new_is_no_progress(ledger):
    run_id, dead = add(ledger), dead_process()
    for _ in range(3):
        ledger.note(ledger.claim(run_id, "fetch", dead), "payload", A)
    assert ledger.claim(run_id, "fetch", ME) is None
    assert ledger.run(run_id).state == State.DEAD


def test_a_deferred_run_waits_without_counting(ledger):
    run_id = add(ledger)
    assert ledger.defer(ledger.claim(run_id, "fetch", ME), "backend is away", 60) == State.WAITING
    run = ledger.run(run_id)
    assert (run.attempts, run.error) == (0, "backend is away")
    assert 50 < run.retry_in <= 60
    assert ledger.claim(run_id, "fetch", ME) is None


def test_a_wait_that_is_over_can_be_claimed(ledger):
    run_id = add(ledger)
    ledger.defer(ledger.claim(run_id, "fetch", ME), "away", 0)
    assert ledger.claim(run_id, "fetch", ME).attempts == 0


def test_a_wait_never_passes_the_deadline(ledger):
    run_id = add(ledger, publishedAt=int(time.time()) - 3590)
    ledger.defer(ledger.claim(run_id, "fetch", ME), "away", 500)
    assert ledger.run(run_id).retry_in <= 5


def test_a_run_deferred_after_its_deadline_expires_with_the_reason(ledger):
    run_id = add(ledger, publishedAt=int(time.time()) - 3700)
    assert ledger.defer(ledger.claim(run_id, "fetch", ME), "backend is away", 1) == State.EXPIRED
    assert "fetch; last: backend is away" in ledger.run(run_id).error


def test_a_run_whose_bytes_may_have_left_asks_for_its_receipt_after_the_deadline(ledger):
    run_id = add(ledger, publishedAt=int(time.time()) - 3700)
    claim = ledger.claim(run_id, "fetch", ME)
    ledger.note(claim, "payload", A)
    assert ledger.defer(claim, "reset", 1) == State.WAITING


def test_failures_are_counted_up_to_the_limit(ledger):
    run_id = add(ledger)
    states = [ledger.fail(ledger.claim(run_id, "fetch", ME), "ZeroDivisionError", 0) for _ in range(3)]
    assert states == [State.WAITING, State.WAITING, State.DEAD]
    assert "3 attempts of stage fetch" in ledger.run(run_id).error


@pytest.mark.parametrize(("end", "state"), [("reject", State.REJECTED), ("kill", State.DEAD)])
def test_a_final_end_keeps_its_reason_and_cannot_be_claimed(ledger, end, state):
    run_id = add(ledger)
    assert getattr(ledger, end)(ledger.claim(run_id, "fetch", ME), "because") == state
    assert ledger.run(run_id).error == "because"
    assert ledger.claim(run_id, "fetch", ME) is None


def test_committing_twice_under_one_token_is_once(ledger):
    run_id = add(ledger)
    claim = ledger.claim(run_id, "fetch", ME)
    assert ledger.commit(claim, {"model": A}, {}, durable=True) == Stage.DATA
    assert ledger.commit(claim, {"model": A}, {}, durable=True) == Stage.DATA
    assert len(ledger.run(run_id).stages) == 1


def test_a_damaged_output_that_comes_out_alike_leaves_later_stages_standing(ledger):
    run_id = add(ledger)
    advance(ledger, run_id, "fetch", "data", "train", artifacts={"fetch": {"model": A}, "train": {"delta": B}})
    assert ledger.remake(ledger.claim(run_id, "compress", ME), [A], "artifact is damaged") == Stage.FETCH
    assert ledger.claim(run_id, "compress", ME) is None
    assert ledger.commit(ledger.claim(run_id, "fetch", ME), {"model": A}, {}) == Stage.COMPRESS


def test_a_damaged_output_that_comes_out_otherwise_makes_later_stages_due(ledger):
    run_id = add(ledger)
    made = {"train": {"delta": A}, "compress": {"values": B}}
    advance(ledger, run_id, "fetch", "data", "train", "compress", artifacts=made)
    assert ledger.remake(ledger.claim(run_id, "commit", ME), [A], "artifact is damaged") == Stage.TRAIN
    assert ledger.commit(ledger.claim(run_id, "train", ME), {"delta": "c" * 64}, {}) == Stage.COMPRESS
    assert "values" not in ledger.run(run_id).artifacts


def test_a_damaged_checkpoint_is_forgotten(ledger):
    run_id = add(ledger)
    claim = ledger.claim(run_id, "fetch", ME)
    ledger.note(claim, "checkpoint", A)
    assert ledger.remake(claim, [A], "artifact is damaged") == Stage.FETCH
    assert ledger.run(run_id).notes == {}


def test_nothing_is_made_anew_once_bytes_may_have_left(ledger):
    run_id = add(ledger)
    advance(ledger, run_id, "fetch", artifacts={"fetch": {"model": A}})
    claim = ledger.claim(run_id, "data", ME)
    ledger.note(claim, "payload", B)
    assert ledger.remake(claim, [A], "artifact is damaged") is None
    assert ledger.run(run_id).state == State.DEAD


def test_what_is_always_damaged_ends_dead(ledger):
    run_id = add(ledger)
    dues = [ledger.remake(ledger.claim(run_id, "fetch", ME), [], "artifact is damaged") for _ in range(3)]
    assert dues == [Stage.FETCH, Stage.FETCH, None]
    assert ledger.run(run_id).state == State.DEAD


def test_of_many_threads_one_gets_the_claim(ledger):
    run_id, barrier, claims = add(ledger), threading.Barrier(8), []

    def claimer() -> None:
        barrier.wait()
        claims.append(ledger.claim(run_id, "fetch", ME))

    threads = [threading.Thread(target=claimer) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(claim is not None for claim in claims) == 1


def claim_all(url, run_ids, queue):
    ledger = RunLedger(open_database(url))
    queue.put([run_id for run_id in run_ids if ledger.claim(run_id, "fetch", this_process())])
    # The owner must live until all have tried.
    queue.put(None)
    time.sleep(20)


def test_of_many_processes_one_gets_each_claim(ledger, ledger_url):
    run_ids = [add(ledger, taskID=f"task_{number}") for number in range(20)]
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    workers = [context.Process(target=claim_all, args=(ledger_url, run_ids, queue), daemon=True) for _ in range(3)]
    for worker in workers:
        worker.start()
    answers = [queue.get(timeout=30) for _ in range(6)]
    for worker in workers:
        worker.kill()
        worker.join()
    assert sorted(run_id for answer in answers if answer for run_id in answer) == sorted(run_ids)
