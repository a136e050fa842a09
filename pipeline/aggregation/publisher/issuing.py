"""The publisher answers a key request: one key for every round, for ever (docs/protocol.md, section 6)."""

from pipeline.aggregation.function_key import InvalidMasks, key_pieces, sign_key
from pipeline.aggregation.publisher.context import PublisherDesk
from pipeline.errors import FleetError, Rejected
from pipeline.protocol.function_key import KeyRequest
from pipeline.protocol.strict import read_json
from pipeline.stores.db.lease import renewed
from pipeline.stores.db.party_ledger import Conflict
from pipeline.stores.publisher.issued_keys import MAX_ATTEMPTS, Refusal


def issue(desk: PublisherDesk, request_hash: str) -> None:
    """Works on a stored request until its answer is stored: the key, or why there is none.

    Twice does no harm: an answer stands, and a live worker is not disturbed. Raises LeaseLost, Retryable, Misconfigured.
    """
    pending = desk.issued.claim(request_hash)
    if pending is None:
        return
    if pending.attempts >= MAX_ATTEMPTS:
        reason = f"work on this request ended {pending.attempts} times without a result; the publisher's log says how"
        desk.issued.refuse(request_hash, pending.token, Refusal(status=422, reasons=[reason], invalid=()))
        return
    request, token = KeyRequest.from_envelope(read_json(pending.envelope)), pending.token
    with renewed(lambda: desk.issued.renew(request_hash, token), desk.issued.lease_seconds):
        try:
            _answer(desk, request, token)
        except InvalidMasks as error:
            refusal = Refusal(status=422, reasons=error.reasons, invalid=error.invalid)
            desk.issued.refuse(request_hash, token, refusal)
        except Conflict as error:
            desk.issued.refuse(request_hash, token, Refusal(status=409, reasons=error.reasons, invalid=()))
        except Rejected as error:
            desk.issued.refuse(request_hash, token, Refusal(status=422, reasons=error.reasons, invalid=()))
        except FleetError:
            desk.issued.release(request_hash, token)
            raise


def _answer(desk: PublisherDesk, request: KeyRequest, token: int) -> None:
    signed = desk.plans.signed(request.task_id, request.round)
    if signed is None:
        raise Rejected(f"this publisher signed no round {request.round} of {request.task_id}")
    groups = signed.task.groups(desk.coordinates(signed))
    words = key_pieces(signed.task, request, desk.key, groups, desk.kernel)
    stored = desk.artifacts.put_pieces(words, durable=True)
    key = sign_key(request, desk.artifacts.opened(stored), desk.key)
    desk.issued.issue(request, token, key=stored, signature=key.signature)
