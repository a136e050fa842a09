"""The aggregator, as a miner talks to it (docs/protocol.md, section 5)."""

from pipeline.errors import Malformed, Rejected, Retryable
from pipeline.parties.http import RefusedByParty, send
from pipeline.protocol.file_bytes import Bytes
from pipeline.protocol.signing import check_embedded_signature
from pipeline.protocol.submission import MSGPACK, Receipt

#: A receipt is three members; the rest is room for ones that we don't know.
MAX_RECEIPT_BYTES = 16 * 1024
_MEANING = {
    409: "it holds another submission of this miner for this round",
    410: "the round is closed",
    413: "the submission is larger than it reads",
    422: "it refused the submission",
}
#: It polls the board as we do, perhaps later; until the deadline a round that it does not know is one that it does not know yet.
_UNKNOWN_ROUND = 404


def submit(url: str, payload: Bytes, *, submission_hash: str, aggregator_address: str, timeout: float) -> Receipt:
    """POSTs a submission's msgpack bytes (streamed, where they lie on disk) and returns the receipt, whose signature and submissionHash are checked.

    Raises Retryable (no answer, 404, 429, 5xx, or an answer that is not the aggregator's kind), Rejected with the aggregator's
    reasons (409, 410, 413, 422), BadSignature or Malformed for a receipt that is not its word about this submission.
    """
    address = f"{url}/aggregator/submit-update"
    try:
        answer = send("POST", address, body=payload, content_type=MSGPACK, max_bytes=MAX_RECEIPT_BYTES, timeout=timeout)
    except RefusedByParty as error:
        if error.status == _UNKNOWN_ROUND:
            raise Retryable(f"aggregator: it does not know the round yet: {'; '.join(error.reasons)}") from None
        meaning = _MEANING.get(error.status, f"it answered {error.status}")
        raise Rejected(f"aggregator: {meaning}", *error.reasons) from None
    if answer.status != 202:
        # A proxy's greeting, for one: nothing that the aggregator said.
        raise Retryable(f"{address} answered {answer.status}, expected 202 with a receipt")
    receipt = Receipt.decode(answer.body)
    check_receipt(receipt, submission_hash=submission_hash, aggregator_address=aggregator_address)
    return receipt


def check_receipt(receipt: Receipt, *, submission_hash: str, aggregator_address: str) -> None:
    """Raises Malformed where the receipt is for another submission, BadSignature where another one signed it."""
    if receipt.submission_hash != submission_hash:
        raise Malformed(f"receipt: expected submissionHash {submission_hash}, got {receipt.submission_hash[:80]!r}")
    check_embedded_signature("receipt", receipt.document, aggregator_address, "the aggregator's receipt")
