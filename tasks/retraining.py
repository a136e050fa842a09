"""flfleet.retrain: the next local training in the ledger's order of priority, or several small ones of a kind as one program.

Its messages name no training: each says "there may be work", and the sweep keeps as many of them in the queue as there is work,
up to a limit; one that found work sends another. So thousands of trainings need no thousands of messages, a lost message costs nothing, and the ledger alone
decides whose turn it is. The queue stands behind the stages' in every train worker: a round that has a deadline goes first, and
a training that is at work gives way to it between two epochs.
"""

import traceback
from functools import lru_cache
from typing import Any

import celery
import structlog
from kombu.exceptions import OperationalError

from pipeline.errors import Retryable
from pipeline.settings import current
from pipeline.stacked_retraining import Stacks, kind_of, most_members
from pipeline.stores.db.owners import this_process
from pipeline.stores.fleet.ledger import RunLedger
from pipeline.stores.fleet.retraining_records import RetrainingClaim
from tasks.app import RETRAIN, RETRAIN_PRIORITY, app
from tasks.holdings import ledger
from tasks.queues import queue_depths
from tasks.retraining_turns import Turns

#: Messages that the sweep sends at most: enough for as many idle processes.
MOST_HINTS = 200


class RetrainTask(celery.Task):  # type: ignore[misc, unused-ignore]
    """An exception that is not ours (a bug, a lack of memory) is a counted attempt, as of a stage."""

    def on_failure(self, exc: BaseException, _task_id: str, _args: Any, _kwargs: Any, _info: Any) -> None:
        """Celery calls this for whatever the task lets through."""
        turns: Turns | None = getattr(self.request, "turns", None)
        if turns is not None:
            turns.failed(traceback.format_exception_only(exc)[-1].strip()[:1000])


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
    """Trains the next one, and those that are trained with it. Returns a word for Flower."""
    book = ledger()
    claim = book.next_retraining(this_process())
    if claim is None:
        return "nothing waits"
    self.request.turns = turns = Turns(book, claim)
    if not self.request.is_eager:
        _hint_again()
    with structlog.contextvars.bound_contextvars(miner=claim.miner):
        alone = _joined(book, claim, turns)
        return turns.take(alone, _stacks())


def _hint_again() -> None:
    """Where one training waited, others may: small ones are done long before the next sweep."""
    away = app.connection_for_write().recoverable_connection_errors
    try:
        retrain_next.apply_async(priority=RETRAIN_PRIORITY, retry=False)
    except (OperationalError, *away):
        return  # the sweep sends more


def _joined(book: RunLedger, claim: RetrainingClaim, turns: Turns) -> str | None:
    """Takes those that may share a stack with the first one; why there are none, None where there are."""
    task, parameters = book.task(claim.task_hash), current().stack_parameters
    if claim.attempts:
        return "an earlier attempt ended without a result"  # it must not take others with it
    obstacle = _stacks().obstacle(task, parameters)
    if obstacle is not None:
        return obstacle
    kind = kind_of(task)
    peers = book.peers_of(
        claim,
        this_process(),
        most=most_members(task, parameters) - 1,
        is_alike=lambda task_hash: kind_of(book.task(task_hash)) == kind,
    )
    turns.add(peers)
    return None if peers else "no other of its kind waited"


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


@lru_cache(maxsize=1)
def _stacks() -> Stacks:
    return Stacks()
