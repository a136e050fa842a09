"""An aggregator gives its verdict on one submission (docs/protocol.md, section 5)."""

import time

from pipeline.aggregation.aggregator.context import AggregatorDesk
from pipeline.aggregation.collect import check_parts
from pipeline.errors import Corrupt, Misconfigured, Rejected, Retryable
from pipeline.protocol.signing import SecretKey, canonical
from pipeline.protocol.submission import Receipt, Submission
from pipeline.stores.aggregator.submissions import MAX_ATTEMPTS, Closed, Stored
from pipeline.stores.db.lease import renewed
from pipeline.stores.db.party_ledger import Conflict


def verify(desk: AggregatorDesk, number: int) -> bool:
    """Verifies a pending submission; True where it was the last one that its round takes.

    Twice does no harm: a verdict stands, and a live worker is not disturbed. Raises LeaseLost, Retryable, Misconfigured.
    """
    stored = desk.submissions.claim(number)
    if stored is None:
        return False
    if stored.attempts >= MAX_ATTEMPTS:
        _refuse(desk, stored, 422, f"verification ended {stored.attempts} times without a result")
        return False
    try:
        with renewed(lambda: desk.submissions.renew(stored), desk.submissions.lease_seconds):
            return _judge(desk, stored)
    except (Retryable, Misconfigured):
        # Our own trouble: it must not count against the submission.
        desk.submissions.release(stored)
        raise


def receipt_of(stored: Stored, aggregator: SecretKey) -> Receipt:
    """The signed receipt: the same for the same submission."""
    body = {"submissionHash": stored.header.submission_hash, "receivedAt": stored.received_at}
    return Receipt.decode(canonical(body | {"signature": aggregator.sign("receipt", body)}))


def body_of(desk: AggregatorDesk, stored: Stored) -> Submission:
    """The submission; its bodies stay on disk. Raises Corrupt."""
    wish = None if stored.wish is None else desk.artifacts.opened(stored.wish)
    ciphertext = desk.artifacts.opened(stored.ciphertext)
    return Submission(header=stored.header, signature=stored.signature, ciphertext=ciphertext, wish=wish)


def due(desk: AggregatorDesk, *, idle_seconds: float) -> list[int]:
    """Pending submissions that came more than `idle_seconds` ago: whose hint was lost, or whose worker died."""
    now = time.time()
    return [stored.id for stored in desk.submissions.pending() if now - stored.received_at >= idle_seconds]


def _judge(desk: AggregatorDesk, stored: Stored) -> bool:
    try:
        _check(desk, stored)
    except Rejected as error:
        _refuse(desk, stored, 422, *error.reasons)
        return False
    except Corrupt:
        # The same bytes are welcome again: the miner has them.
        desk.submissions.forget(stored)
        return False
    return _accept(desk, stored)


def _check(desk: AggregatorDesk, stored: Stored) -> None:
    found = desk.rounds.find(stored.task_id, stored.round)
    assert found is not None, "a submission's round is a foreign key"
    wish = None if stored.wish is None else desk.artifacts.opened(stored.wish)
    ciphertext = desk.artifacts.opened(stored.ciphertext)
    check_parts(found.task, stored.header, stored.signature, ciphertext, wish, found.row.coordinates, desk.kernel)


def _accept(desk: AggregatorDesk, stored: Stored) -> bool:
    try:
        return desk.submissions.accept(stored, receipt_of(stored, desk.key))
    except Closed as error:
        _refuse(desk, stored, 410, *error.reasons)
    except Conflict as error:
        _refuse(desk, stored, 409, *error.reasons)
    return False


def _refuse(desk: AggregatorDesk, stored: Stored, status: int, *reasons: str) -> None:
    for digest in desk.submissions.refuse(stored, status, reasons):
        desk.artifacts.delete(digest)
