"""The candidate block (PROTOCOL.md section 8): forming it, and what a reader can check without curve work."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.aggregation.collect import header_problems
from pipeline.aggregation.decrypt import Aggregate
from pipeline.aggregation.support import next_support
from pipeline.errors import BadSignature, Malformed, Rejected
from pipeline.protocol.block import Audit, Block
from pipeline.protocol.encodings import PROTOCOL, keccak256, to_hex
from pipeline.protocol.function_key import FunctionKey, KeyRequest, key_body
from pipeline.protocol.signing import SecretKey, canonical, check_embedded_signature, check_signature
from pipeline.protocol.task import Task


@dataclass(frozen=True, kw_only=True)
class NewModel:
    """What the round made of the model."""

    #: SHA-256 of the file, `0x` + hex.
    sha256: str
    url: str
    #: On the aggregator's own validation data, 0 .. 1.
    accuracy: float


def form_block(
    task: Task,
    request: KeyRequest,
    key: FunctionKey,
    aggregate: Aggregate,
    model: NewModel,
    support: bytes,
    created_at: int,
    aggregator: SecretKey,
) -> Block:
    """The aggregator's signed block. `support` is the next round's bitmap, `created_at` Unix seconds."""
    document: dict[str, Any] = {
        "protocol": PROTOCOL,
        "taskID": task.task_id,
        "round": task.round,
        "taskHash": task.task_hash,
        "parentModelHash": to_hex(task.model_sha256),
        "modelHash": model.sha256,
        "modelURL": model.url,
        "accuracy": model.accuracy,
        "participants": _participants(request),
        "requestHash": request.request_hash,
        "keyHash": key.key_hash,
        "keySignature": key.signature,
        "maskSumHash": to_hex(keccak256(aggregate.mask_sums)),
        "aggregateHash": aggregate.aggregate_hash,
        "dropped": aggregate.dropped,
        "nextSupportHash": to_hex(keccak256(support)),
        "createdAt": created_at,
    }
    if task.parent_block_hash is not None:
        document["parentBlockHash"] = task.parent_block_hash
    document["signature"] = aggregator.sign("block", document)
    return Block.decode(canonical(document))


def check_block(task: Task, block: Block, audit: Audit, support_size: int) -> None:
    """Checks signatures, participants, hashes, bounds and the next support. Raises Rejected with every reason.

    That the sum is the participants' (curve work) and that the model is w_old minus it are checks of their own.
    """
    request = KeyRequest.from_envelope(audit.request)
    reasons = [*_identity_problems(task, block), *_request_problems(task, block, request)]
    reasons += _audit_problems(task, block, audit, request, support_size)
    if reasons:
        raise Rejected(*(f"block: {reason}" for reason in reasons))


def _participants(request: KeyRequest) -> list[dict[str, str]]:
    headers = [entry.header for entry in request.submissions]
    return [
        {"miner": one.miner, "submissionHash": one.submission_hash, "scoreCommit": one.score_commit} for one in headers
    ]


def _identity_problems(task: Task, block: Block) -> Iterator[str]:
    fields = block.fields
    try:
        check_embedded_signature("block", block.document, task.aggregator_address, "the aggregator")
    except BadSignature as error:
        yield str(error)
    if (fields.taskID, fields.round, fields.taskHash) != (task.task_id, task.round, task.task_hash):
        yield f"of another task: its taskHash is {fields.taskHash}, expected {task.task_hash}"
    if fields.parentBlockHash != task.parent_block_hash:
        yield "parentBlockHash is not the task's"
    if fields.parentModelHash != to_hex(task.model_sha256):
        yield "parentModelHash is not the task's modelSHA256"


def _request_problems(task: Task, block: Block, request: KeyRequest) -> Iterator[str]:
    fields = block.fields
    if request.request_hash != fields.requestHash:
        yield "requestHash is not that of the audit's request"
    if block.document["participants"] != _participants(request):
        yield "participants are not those of the request"
    if not task.min_miners <= len(request.submissions) <= task.max_miners:
        yield f"{len(request.submissions)} participants, expected {task.min_miners} to {task.max_miners}"
    if len({entry.header.miner for entry in request.submissions}) != len(request.submissions):
        yield "a miner takes part twice"
    for entry in request.submissions:
        yield from header_problems(task, entry.header, entry.signature)
    try:
        check_signature("key-request", request.document, request.signature, task.aggregator_address, "the aggregator")
        body = key_body(request, fields.keyHash)
        check_signature("key", body, fields.keySignature, task.publisher_address, "the publisher")
    except BadSignature as error:
        yield str(error)


def _audit_problems(task: Task, block: Block, audit: Audit, request: KeyRequest, support_size: int) -> Iterator[str]:
    fields, participants = block.fields, len(request.submissions)
    groups = task.groups(support_size)
    if len(audit.mask_sums) != 32 * groups or to_hex(keccak256(audit.mask_sums)) != fields.maskSumHash:
        yield "maskSumHash is not that of the audit's mask sums"
    if len(audit.aggregate) != 8 * support_size or to_hex(keccak256(audit.aggregate)) != fields.aggregateHash:
        yield "aggregateHash is not that of the audit's aggregate"
    elif np.abs(np.frombuffer(audit.aggregate, dtype="<i8")).max(initial=0) > participants * task.level:
        yield "a coordinate of the aggregate is beyond n * c"
    if any(group >= groups for group in fields.dropped) or fields.dropped != sorted(set(fields.dropped)):
        yield "dropped does not name ascending groups of the round"
    try:
        wishes = _checked_wishes(task, audit.wishes, request)
    except Malformed as error:
        yield str(error)
        return
    support = next_support(task.task_id, task.round + 1, task.dimension, task.ratio, wishes)
    if to_hex(keccak256(support)) != fields.nextSupportHash:
        yield "nextSupportHash is not that of the support which the wishes give"


def _checked_wishes(task: Task, wishes: Sequence[bytes | None], request: KeyRequest) -> Sequence[bytes | None]:
    if len(wishes) != len(request.submissions):
        raise Malformed("the audit does not hold one wish (or none) a participant")
    for wish, entry in zip(wishes, request.submissions, strict=True):
        stated = entry.header.wish_hash
        if (None if wish is None else to_hex(keccak256(wish))) != stated:
            raise Malformed(f"the wish of {entry.header.miner} is not the one that its header names")
        if wish is not None and len(wish) != (task.dimension + 7) // 8:
            raise Malformed(f"the wish of {entry.header.miner} has another length")
    return wishes
