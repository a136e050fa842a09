"""One stage of one run, as every stage task does it: claim, work, commit; and what each kind of error means for the run."""

import importlib
import random
import time
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import celery
import structlog

from pipeline.errors import Corrupt, Misconfigured, Rejected, Retryable
from pipeline.protocol.strict import read_json
from pipeline.protocol.submission import Header
from pipeline.settings import current
from pipeline.stages.contract import Job, Output, PreviousRun, Stage
from pipeline.stores.artifacts import ArtifactStore
from pipeline.stores.db.owners import this_process
from pipeline.stores.fleet.base import PAYLOAD
from pipeline.stores.fleet.ledger import RunLedger
from pipeline.stores.fleet.records import Claim, Fenced
from tasks.chain import start
from tasks.holdings import artifacts, identity_of, ledger, used_key
from tasks.leases import RenewedLease
from tasks.progress import Progress

#: Waits between attempts: doubled each time from the first to the longest, and jittered, so that a fleet does not march.
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 2.0, 60.0
_log = structlog.get_logger(__name__)
T = TypeVar("T")


class StageTask(celery.Task):  # type: ignore[misc, unused-ignore]
    """A stage's task: an exception that is not ours (a bug, a lack of memory) is a counted attempt of the run."""

    def on_failure(self, exc: BaseException, _task_id: str, _args: Any, _kwargs: Any, _info: Any) -> None:
        """Celery calls this for whatever `perform` lets through."""
        claim: Claim | None = getattr(self.request, "claim", None)
        if claim is None or isinstance(exc, (Rejected, Misconfigured)):
            return  # written down already
        reason = traceback.format_exception_only(exc)[-1].strip()[:1000]
        # What `perform` had bound is gone with it.
        with structlog.contextvars.bound_contextvars(run=claim.run_id, stage=claim.stage.value, miner=claim.miner):
            try:
                state = ledger().fail(claim, reason, backoff(claim.attempts))
            except (Fenced, Retryable) as error:
                _log.warning("failure not written down", reason=str(error))
            else:
                _log.error("stage failed", state=state, reason=reason)


def perform(task: celery.Task, run_id: str, stage: Stage) -> str:
    """Does the stage if it is this worker's to do. Returns a word for Flower; raises what the run ended with, if it did."""
    with structlog.contextvars.bound_contextvars(run=run_id, stage=stage.value):
        try:
            claim = ledger().claim(run_id, stage, this_process())
        except Retryable as error:
            return _stop(task, f"not claimed: {error}")  # the sweep comes back to it
        if claim is None:
            return _stop(task, "refused: not due, or at work elsewhere")
        with structlog.contextvars.bound_contextvars(miner=claim.miner):
            task.request.claim = claim
            _log.info("stage begins", attempt=claim.attempts + 1)
            return _work(task, claim)


def _work(task: celery.Task, claim: Claim) -> str:
    book, store = ledger(), artifacts()
    try:
        if PAYLOAD not in claim.inputs:  # a submission that is on the disk already only has to leave
            store.require_space(current().min_free_bytes)
        with RenewedLease(book, claim) as lease:
            output = _stage(claim.stage)(_job(task, claim, book, store, lease))
            # Submit's receipt is the end of the promise: it is on the disk before the run is called accepted.
            durable = claim.stage is Stage.SUBMIT
            due = _persist(book, lambda: book.commit(claim, output.artifacts, output.figures, durable=durable))
    except Fenced as error:
        return _stop(task, f"fenced: {error}")
    except Retryable as error:
        wait = backoff(claim.attempts) if error.retry_after is None else error.retry_after * random.uniform(1.0, 1.2)
        state = _end(book, partial(book.defer, claim, str(error), wait))
        return _stop(task, f"{state}: {error}")
    except Rejected as error:
        _end(book, partial(book.reject, claim, str(error)))
        raise
    except Misconfigured as error:
        _end(book, partial(book.kill, claim, str(error)))
        raise
    except Corrupt as error:
        damaged = [digest for digest in {*claim.inputs.values()} if not store.is_whole(digest)]
        again = _end(book, partial(book.remake, claim, damaged, str(error)))
        return _go_on(task, claim, again if isinstance(again, Stage) else None, f"made again: {error}")
    _log.info("stage committed", seconds=round(time.monotonic() - claim.started_monotonic, 3))
    if due is None or _follows(claim.stage, due):
        return "committed"
    return _go_on(task, claim, due, "committed")


def backoff(attempts: int) -> float:
    """Seconds to wait before the next attempt, with jitter."""
    longest = min(FIRST_WAIT_SECONDS * 2.0 ** min(attempts, 10), LONGEST_WAIT_SECONDS)
    return longest * random.uniform(0.5, 1.0)


def _stage(stage: Stage) -> Callable[[Job], Output]:
    """A stage's function, imported in the pool that runs it: the others stay without torch and tables."""
    run: Callable[[Job], Output] = importlib.import_module(f"pipeline.stages.{stage}").run
    return run


def _job(task: celery.Task, claim: Claim, book: RunLedger, store: ArtifactStore, lease: RenewedLease) -> Job:
    settings = current()
    identity = identity_of(claim.miner)
    terms = book.task(claim.task_hash)
    previous = None
    if claim.stage is Stage.COMPRESS and terms.round > 1:
        previous = _previous(book, store, claim.miner, terms.dataset, terms.task_id, terms.round)
    return Job(
        run_id=claim.run_id,
        task=terms,
        identity=identity,
        inputs=claim.inputs,
        figures=claim.figures,
        artifacts=store,
        settings=settings,
        previous=previous,
        secret_key=(lambda: used_key(claim.miner, "submission", run=claim.run_id))
        if claim.stage is Stage.SUBMIT
        else None,
        report=Progress(task, book, claim, lease),
        note=lambda name, digest: book.note(claim, name, digest),
    )


def _previous(
    book: RunLedger, store: ArtifactStore, miner: str, dataset: str, task_id: str, before_round: int
) -> PreviousRun | None:
    run = book.previous_run(miner, dataset, task_id, before_round)
    if run is None:
        return None
    header = Header.from_document(read_json(store.get(run.artifacts["header"])))
    return PreviousRun(
        round=run.round,
        submission_hash=header.submission_hash,
        artifacts=run.artifacts,
        task=book.task(run.task_hash),
    )


def _persist(book: RunLedger, write: Callable[[], T]) -> T:
    """Writes to the ledger, again while it is away: a training's result must not be lost to a database that restarts.

    The lease may run out meanwhile; then the write is fenced, as it must be.
    """
    until = time.monotonic() + book.lease_seconds
    while True:
        try:
            return write()
        except Retryable as error:
            if time.monotonic() > until:
                raise
            _log.warning("ledger is away", reason=str(error))
            time.sleep(0.5)


def _end(book: RunLedger, write: Callable[[], T]) -> T | str:
    """Writes down how a claim ended. Where that fails, the lease runs out and the sweep counts the attempt."""
    try:
        result = _persist(book, write)
    except (Fenced, Retryable) as error:
        _log.warning("end not written down", reason=str(error))
        return "not written down"
    _log.info("stage ended", outcome=str(result))
    return result


def _follows(stage: Stage, due: Stage) -> bool:
    order = list(Stage)
    return order.index(due) == order.index(stage) + 1


def _go_on(task: celery.Task, claim: Claim, due: Stage | None, word: str) -> str:
    """Another stage is due than the chain thinks: a chain of its own replaces it."""
    _stop(task, word)
    if due is not None:
        start(claim.run_id, due, claim.token, claim.label)
    return word


def _stop(task: celery.Task, word: str) -> str:
    """Acknowledges the message and ends the chain: what remains, if anything, is the sweep's or another worker's."""
    task.request.chain = None
    _log.info("chain stops", reason=word)
    return word
