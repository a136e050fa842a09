"""The publisher's tasks, on the queue `publish`: each calls one plain function; a lease in the ledger keeps workers apart."""

from typing import Any

import structlog

from pipeline.aggregation.publisher import following, issuing
from pipeline.aggregation.publisher.context import PublisherDesk, open_publisher_desk, publisher_desk
from pipeline.errors import Corrupt, FleetError, Misconfigured, Rejected, Retryable
from pipeline.protocol.encodings import sha256, to_hex
from pipeline.protocol.task import Task
from pipeline.settings import Settings
from pipeline.stores.db.lease import LeaseLost
from tasks.app import app

_log = structlog.get_logger(__name__)
#: Ends of a task that are somebody's word, not a bug: logged as a line, without a traceback.
_SAID = (Retryable, Rejected, Misconfigured, Corrupt, LeaseLost)


@app.task(name="flfleet.publish.issue_key", throws=_SAID)
def issue_key(request_hash: str) -> None:
    """Answers a stored key request."""
    issuing.issue(publisher_desk(), request_hash)


@app.task(name="flfleet.publish.follow", throws=_SAID)
def follow() -> None:
    """Takes every plan one step on. Key requests come first, again before every plan: an aggregator waits for them."""
    desk = publisher_desk()
    for task_id in desk.plans.running():
        _answer_requests(desk)
        try:
            following.follow(desk, task_id)
        except FleetError as error:
            _log.warning("plan waits", task_id=task_id, reason=str(error))
    _answer_requests(desk)


def _answer_requests(desk: PublisherDesk) -> None:
    """Answers what waits for a key: its own message may be lost, or stand behind this very task."""
    for request_hash in desk.issued.pending():
        try:
            issuing.issue(desk, request_hash)
        except FleetError as error:
            _log.warning("key request waits", request=request_hash, reason=str(error))


def plan(
    settings: Settings,
    *,
    document: dict[str, Any],
    model: bytes,
    ratios: list[float] | None,
    stop_at_expected: bool = True,
) -> None:
    """Keeps a plan in the publisher's ledger; its worker then signs and follows the rounds. The same again is no change.

    `document`: round 1's task without publishedAt and signature; `model`: the file that its modelSHA256 names; `ratios`:
    compression.ratio of each round, the last one for all later ones (None: the document's). Raises Malformed, Rejected where
    model and document do not fit, Conflict where another plan has that taskID.
    """
    task = Task.from_document(document | {"publishedAt": 0})
    if task.round != 1:
        raise Rejected(f"a plan begins with round 1, got {task.round}")
    if sha256(model) != task.model_sha256:
        raise Rejected(f"modelSHA256 is {to_hex(task.model_sha256)}, the model has {to_hex(sha256(model))}")
    if ratios is not None and not all(0 < ratio <= 1 for ratio in ratios):
        raise Rejected(f"ratios must be above 0 and at most 1, got {ratios}")
    if task.support is not None:
        raise Rejected("a plan's first round takes all coordinates: leave support out of the document")
    desk = open_publisher_desk(settings)
    try:
        digest = desk.artifacts.put(model, durable=True)
        desk.plans.add(document, model=digest, ratios=ratios or None, stop_at_expected=stop_at_expected)
    finally:
        desk.close()
