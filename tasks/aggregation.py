"""The aggregator's tasks, on the queue `aggregate`: each calls one plain function; a lease in the ledger keeps workers apart."""

import time

import structlog

from pipeline.aggregation.aggregator import adoption, closing, deadlines, settling, slicing, verification
from pipeline.aggregation.aggregator.context import desk
from pipeline.errors import Corrupt, Misconfigured, Rejected, Retryable
from pipeline.parties.backend import UnreadableTask, open_tasks
from pipeline.settings import current
from pipeline.stores.db.lease import LeaseLost
from tasks.app import app

_log = structlog.get_logger(__name__)
#: Ends of a task that are somebody's word, not a bug: logged as a line, without a traceback.
_SAID = (Retryable, Rejected, Misconfigured, Corrupt, LeaseLost)
#: A submission that waits longer than this has lost its hint, or its worker.
_IDLE_SECONDS = 5.0


@app.task(name="flfleet.aggregate.adopt", throws=_SAID)
def adopt() -> None:
    """Opens the rounds on the backend's board that name this aggregator."""
    settings = current()
    for task in open_tasks(settings.backend_url, timeout=settings.http_timeout_seconds):
        if isinstance(task, UnreadableTask):
            continue
        try:
            if adoption.adopt(desk(), task, time.time()):
                _log.info("round adopted", task_id=task.task_id, round=task.round)
        except (Rejected, Retryable) as error:
            _log.warning("round not adopted", task_id=task.task_id, round=task.round, reason=str(error))


@app.task(name="flfleet.aggregate.verify", throws=_SAID)
def verify(submission: int) -> None:
    """Gives the verdict on a submission; the last one closes its round."""
    if verification.verify(desk(), submission):
        stored = desk().submissions.find(submission)
        assert stored is not None
        close_round.apply_async((stored.task_id, stored.round))


@app.task(name="flfleet.aggregate.close_round", throws=_SAID)
def close_round(task_id: str, number: int) -> None:
    """Takes a round from its last submission to its block; a large one's sum is shared with every worker of the queue."""
    closing.close_round(desk(), task_id, number)
    _send_slices(task_id, number)


@app.task(name="flfleet.aggregate.slice", throws=_SAID)
def add_slice(task_id: str, number: int, index: int) -> None:
    """Adds up one slice of a round; the last one closes the round."""
    if slicing.add_slice(desk(), task_id, number, index):
        close_round.apply_async((task_id, number))


@app.task(name="flfleet.aggregate.settle", throws=_SAID)
def settle() -> None:
    """Settles the published rounds in which all scores are revealed, or whose time is up."""
    settling.settle_due(desk(), time.time())


@app.task(name="flfleet.aggregate.tick", throws=_SAID)
def tick() -> None:
    """Closes what is over, and sends again what nobody works on. A message that is not taken by the next tick is dropped."""
    expires = _one_turn()
    for number in verification.due(desk(), idle_seconds=_IDLE_SECONDS):
        verify.apply_async((number,), expires=expires)
    for task_id, number in deadlines.rounds_due(desk(), time.time()):
        close_round.apply_async((task_id, number), expires=expires)
    settling.settle_due(desk(), time.time())


def _send_slices(task_id: str, number: int) -> None:
    """Hints to the slices that nobody works on. Every tick comes by here, so one that waits for a turn is sent again."""
    found = desk().rounds.find(task_id, number)
    for index in [] if found is None else slicing.due(desk(), found):
        add_slice.apply_async((task_id, number, index), expires=_one_turn())


def _one_turn() -> float:
    """Seconds until the next tick."""
    return max(current().sweep_seconds, 1.0)
