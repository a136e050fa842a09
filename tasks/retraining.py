"""flfleet.retrain: one local training, whichever is next in the ledger's order of priority.

Its messages name no training: each says "there may be work", and the sweep keeps as many of them in the queue as there is work,
up to a limit. So thousands of trainings need no thousands of messages, a lost message costs nothing, and the ledger alone
decides whose turn it is. The queue stands behind the stages' in every train worker: a round that has a deadline goes first, and
a training that is at work gives way to it between two epochs.
"""

import time
import traceback
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any

import celery
import structlog

from pipeline.errors import Corrupt, Misconfigured, Rejected, Retryable
from pipeline.retraining import GaveWay, OpenDatasets, retrain
from pipeline.settings import current
from pipeline.stages.contract import Job
from pipeline.stores.owners import this_process
from pipeline.stores.records import Fenced
from pipeline.stores.retraining_records import RetrainingClaim
from pipeline.stores.runs import RunLedger
from tasks.app import RETRAIN, RETRAIN_PRIORITY, app
from tasks.holdings import artifacts, identity_of, ledger
from tasks.leases import RenewedLease
from tasks.perform import backoff
from tasks.queues import queue_depths

#: Messages that wait at most: what workers take until the next sweep, many times over.
MOST_HINTS = 200
_REPORT_SECONDS = 1.0
#: A round's training that has been in the queue for so long finds no idle worker: a local one gives its place at the epoch's end.
PATIENCE_SECONDS = 1.0
_log = structlog.get_logger(__name__)


class RetrainTask(celery.Task):  # type: ignore[misc, unused-ignore]
    """An exception that is not ours (a bug, a lack of memory) is a counted attempt, as of a stage."""

    def on_failure(self, exc: BaseException, _task_id: str, _args: Any, _kwargs: Any, _info: Any) -> None:
        """Celery calls this for whatever the task lets through."""
        claim: RetrainingClaim | None = getattr(self.request, "claim", None)
        if claim is not None:
            _deferred(ledger(), claim, traceback.format_exception_only(exc)[-1].strip()[:1000])


@app.task(
    name="flfleet.retrain",
    base=RetrainTask,
    bind=True,
    acks_late=True,
    reject_on_worker_lost=False,  # the sweep sends another; the ledger counts the attempt
    ignore_result=True,
    throws=(Retryable,),
)
def retrain_next(self: celery.Task) -> str:
    """Trains the next one, if there is one. Returns a word for Flower."""
    book = ledger()
    claim = book.next_retraining(this_process())
    if claim is None:
        return "nothing waits"
    self.request.claim = claim
    with structlog.contextvars.bound_contextvars(retraining=claim.run_id, miner=claim.miner):
        return _work(book, claim)


def top_up() -> int:
    """Sends as many hints as trainings wait, up to MOST_HINTS in the queue. Returns how many."""
    waiting = ledger().waiting_retrainings()
    depths = queue_depths([RETRAIN]) if waiting else None
    if depths is None:
        return 0
    missing = min(waiting, MOST_HINTS) - depths[RETRAIN]
    for _ in range(missing):
        retrain_next.apply_async(priority=RETRAIN_PRIORITY)
    return max(missing, 0)


def _work(book: RunLedger, claim: RetrainingClaim) -> str:
    begun = time.monotonic()
    turn = _Turn(book, claim)
    try:
        with RenewedLease.by(lambda: book.renew_retraining(claim), book.lease_seconds, claim.run_id) as lease:
            figures = retrain(turn.job(lease), _datasets(), _rounds().wait)
        book.finish_retraining(claim, figures)
    except Fenced as error:
        return f"fenced: {error}"
    except GaveWay as error:
        return _ended(lambda: book.give_back_retraining(claim), f"gave way: {error}")
    except (Rejected, Misconfigured) as error:
        word = _ended(partial(book.fail_retraining, claim, str(error)), f"failed: {error}")
        turn.forget()
        return word
    except (Retryable, Corrupt) as error:
        return _deferred(book, claim, str(error), afresh=isinstance(error, Corrupt))
    turn.forget()
    _log.info("retrained", seconds=round(time.monotonic() - begun, 3))
    return "trained"


def _deferred(book: RunLedger, claim: RetrainingClaim, reason: str, *, afresh: bool = False) -> str:
    write = partial(book.defer_retraining, claim, reason, backoff(claim.attempts), afresh=afresh)
    return _ended(write, f"tried: {reason}")


def _ended(write: Callable[[], object], word: str) -> str:
    """Writes down how it ended; where that fails the lease runs out, and the sweep counts the attempt."""
    try:
        write()
    except (Fenced, Retryable) as error:
        _log.warning("end not written down", reason=str(error))
    _log.warning("retraining ended", reason=word)
    return word


class _Turn:
    """One claim at work: its job, whose progress goes into the ledger at most once a second, and its newest checkpoint."""

    def __init__(self, book: RunLedger, claim: RetrainingClaim) -> None:
        self._book, self._claim = book, claim
        self._checkpoint = claim.checkpoint

    def job(self, lease: RenewedLease) -> Job:
        """Its job under a lease."""
        claim = self._claim
        return Job(
            run_id=claim.run_id,
            task=self._book.task(claim.task_hash),
            identity=identity_of(claim.miner),
            inputs={} if claim.checkpoint is None else {"checkpoint": claim.checkpoint},
            figures={},
            artifacts=artifacts(),
            settings=current(),
            report=_Report(self._book, claim, lease),
            note=self._note,
        )

    def forget(self) -> None:
        """Removes the checkpoint of a training that has ended; should that fail, the nightly pruning does."""
        if self._checkpoint is not None:
            try:
                artifacts().delete(self._checkpoint)
            except Retryable as error:
                _log.warning("checkpoint not removed", reason=str(error))

    def _note(self, _name: str, digest: str) -> None:
        self._book.note_retraining(self._claim, digest)
        self._checkpoint = digest


class _Report:
    """Progress into the ledger, at most once a second. Raises Fenced where the training was cancelled or taken over."""

    def __init__(self, book: RunLedger, claim: RetrainingClaim, lease: RenewedLease) -> None:
        self._book, self._claim, self._lease = book, claim, lease
        self._next = time.monotonic() + _REPORT_SECONDS

    def __call__(self, progress: Mapping[str, Any]) -> None:
        self._lease.check()
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _REPORT_SECONDS
        try:
            self._book.report_retraining(self._claim, progress)
        except Retryable:
            return  # for people only


class _Rounds:
    """Whether a round waits for this pool; asked of the ledger at most once a second."""

    def __init__(self) -> None:
        self._next = 0.0

    def wait(self) -> bool:
        """An idle worker would have taken it in PATIENCE_SECONDS; where the ledger is away, nobody waits."""
        if time.monotonic() < self._next:
            return False
        self._next = time.monotonic() + PATIENCE_SECONDS
        try:
            return ledger().round_waits(PATIENCE_SECONDS)
        except Retryable:
            return False


@lru_cache(maxsize=1)
def _rounds() -> _Rounds:
    return _Rounds()


@lru_cache(maxsize=1)
def _datasets() -> OpenDatasets:
    return OpenDatasets()
