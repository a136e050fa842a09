"""The function key (PROTOCOL.md section 6): the aggregator asks, the publisher checks and answers, the aggregator checks."""

from collections.abc import Sequence
from typing import Any

from pipeline.aggregation.collect import header_problems
from pipeline.curve.arrays import bytes_from_words
from pipeline.curve.contract import Kernel, Q, Scalars
from pipeline.errors import BadSignature, Malformed, Rejected
from pipeline.nddfe.mask_sum import mask_sum
from pipeline.nddfe.party_streams import aggregator_stream, mask_totals, publisher_stream
from pipeline.protocol.encodings import keccak256, scalar_to_hex, to_hex
from pipeline.protocol.function_key import FunctionKey, KeyRequest, SignedHeader, key_body
from pipeline.protocol.signing import SecretKey, check_signature
from pipeline.protocol.task import Task


class InvalidMasks(Rejected):
    """Submissions whose masks are not theirs. Nothing is spent: the aggregator asks again without them."""

    def __init__(self, invalid: Sequence[str]) -> None:
        super().__init__(*(f"invalid masks: submission {name}" for name in invalid))
        #: Submission hashes.
        self.invalid = list(invalid)


def build_request(
    task: Task, submissions: Sequence[SignedHeader], groups: int, aggregator: SecretKey, kernel: Kernel
) -> KeyRequest:
    """The aggregator's signed request for submissions in order of receipt, with S_i for each."""
    sums = [
        mask_sum(kernel, aggregator_stream(task, aggregator, entry.header), entry.header.statement_hash, groups)
        for entry in submissions
    ]
    document: dict[str, Any] = {
        "taskID": task.task_id,
        "round": task.round,
        "taskHash": task.task_hash,
        "submissions": [{"header": entry.header.document, "signature": entry.signature} for entry in submissions],
        "maskSums": [scalar_to_hex(value) for value in sums],
    }
    signature = aggregator.sign("key-request", document)
    return KeyRequest.from_envelope({"request": document, "signature": signature})


def check_request(task: Task, request: KeyRequest) -> None:
    """What the publisher checks without its secret key. Raises Rejected with every reason."""
    reasons = []
    try:
        check_signature("key-request", request.document, request.signature, task.aggregator_address, "the aggregator")
    except BadSignature as error:
        reasons.append(f"bad signature: {error}")
    if (request.task_id, request.round, request.task_hash) != (task.task_id, task.round, task.task_hash):
        reasons.append(f"unknown task hash: the task of this round is {task.task_hash}")
    for entry in request.submissions:
        reasons += header_problems(task, entry.header, entry.signature)
    headers = [entry.header for entry in request.submissions]
    for what, values in (("miner", [one.miner for one in headers]), ("maskKey", [one.mask_key for one in headers])):
        if len(set(values)) != len(values):
            reasons.append(f"a {what} stands twice in the request")
    if not task.min_miners <= len(headers) <= task.max_miners:
        reasons.append(f"{len(headers)} submissions, expected {task.min_miners} to {task.max_miners}")
    if reasons:
        raise Rejected(*reasons)


def issue_key(task: Task, request: KeyRequest, groups: int, publisher: SecretKey, kernel: Kernel) -> FunctionKey:
    """The publisher's answer. Raises Rejected (`check_request`), InvalidMasks where a != R_i + S_i."""
    check_request(task, request)
    streams = [publisher_stream(task, publisher, entry.header) for entry in request.submissions]
    invalid = []
    for entry, stream, own_sum in zip(request.submissions, streams, request.mask_sums, strict=True):
        header = entry.header
        if header.proof.a != (mask_sum(kernel, stream, header.statement_hash, groups) + own_sum) % Q:
            invalid.append(header.submission_hash)
    if invalid:
        raise InvalidMasks(invalid)
    key_bytes = bytes_from_words(mask_totals(kernel, streams, groups))
    body = key_body(request, to_hex(keccak256(key_bytes)))
    return FunctionKey(key=key_bytes, signature=publisher.sign("key", body))


def check_key(task: Task, request: KeyRequest, key: FunctionKey, groups: int, kernel: Kernel) -> Scalars:
    """What the aggregator checks of the answer; returns k_g as scalars. Raises Malformed or BadSignature."""
    if len(key.key) != 32 * groups:
        raise Malformed(f"function key: expected {32 * groups} bytes for {groups} groups, got {len(key.key)}")
    check_signature("key", key.body(request), key.signature, task.publisher_address, "the publisher")
    return kernel.reduce(key.key)
