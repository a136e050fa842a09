"""The candidate block, and what a reader checks of it without curve work (docs/protocol.md, section 8)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pipeline.aggregation.collect import check_wish
from pipeline.aggregation.findings import Findings
from pipeline.aggregation.function_key import below_q, check_key_signature, check_request
from pipeline.aggregation.support import support_pieces
from pipeline.errors import Malformed
from pipeline.protocol.block import Audit, Block, Participant
from pipeline.protocol.encodings import PROTOCOL, keccak256_of, keccak256_pieces, to_hex
from pipeline.protocol.file_bytes import PIECE, Bytes, array_of
from pipeline.protocol.function_key import FunctionKey, KeyRequest
from pipeline.protocol.signing import SecretKey, canonical, check_embedded_signature
from pipeline.protocol.task import Task


@dataclass(frozen=True, kw_only=True)
class NewModel:
    """What the round made of the model."""

    #: SHA-256 of the file, `0x` + hex.
    sha256: str
    url: str
    #: On the aggregator's own validation data, 0 .. 1.
    accuracy: float


class Sum(Protocol):
    """One round's sum: `decrypt.Aggregate`, or one on disk."""

    @property
    def encoded(self) -> Bytes:
        """X as int64 little-endian."""

    @property
    def mask_sums(self) -> Bytes:
        """M_g, 32 big-endian bytes each."""

    @property
    def dropped(self) -> list[int]:
        """Numbers of the groups that are zero because they could not be read."""


def form_block(
    task: Task,
    request: KeyRequest,
    key: FunctionKey,
    aggregate: Sum,
    model: NewModel,
    support: Bytes,
    created_at: int,
    aggregator: SecretKey,
) -> Block:
    """The aggregator's signed block. `support`: the next round's bitmap (`next_support`); `created_at`: Unix seconds."""
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
        "maskSumHash": to_hex(keccak256_of(aggregate.mask_sums)),
        "aggregateHash": to_hex(keccak256_of(aggregate.encoded)),
        "dropped": aggregate.dropped,
        "nextSupportHash": to_hex(keccak256_of(support)),
        "createdAt": created_at,
    }
    if task.parent_block_hash is not None:
        document["parentBlockHash"] = task.parent_block_hash
    document["signature"] = aggregator.sign("block", document)
    return Block.decode(canonical(document))


def check_block(task: Task, block: Block, audit: Audit, support_size: int) -> KeyRequest:
    """Checks block and audit against the task (whose own signature is checked already) and returns the block's key request.

    Raises Rejected with every reason. Not checked here: the sum itself (curve work), the model's bytes, the accuracy.
    """
    findings, fields = Findings(), block.fields
    request = KeyRequest.from_envelope(audit.request)
    with findings.gather():
        check_embedded_signature("block", block.document, task.aggregator_address, "the aggregator's block")
    for name, expected, got in (
        ("taskID", task.task_id, fields.taskID),
        ("round", task.round, fields.round),
        ("taskHash", task.task_hash, fields.taskHash),
        ("parentBlockHash", task.parent_block_hash, fields.parentBlockHash),
        ("parentModelHash", to_hex(task.model_sha256), fields.parentModelHash),
        ("requestHash", request.request_hash, fields.requestHash),
        ("participants", _participants(request), _named(fields.participants)),
        ("maskSumHash", to_hex(keccak256_of(audit.mask_sums)), fields.maskSumHash),
        ("aggregateHash", to_hex(keccak256_of(audit.aggregate)), fields.aggregateHash),
    ):
        findings.require(expected == got, f"block: {name} is {str(got)[:200]}, expected {str(expected)[:200]}")
    findings.require(0 <= fields.accuracy <= 1, "block: accuracy is not from 0 to 1")
    with findings.gather("key request: "):
        check_request(task, request)
    with findings.gather():
        check_key_signature(task, request, fields.keyHash, fields.keySignature)
    with findings.gather():
        _check_sums(task, audit, fields.dropped, len(request.submissions), support_size)
    with findings.gather():
        _check_wishes(task, request, audit.wishes, fields.nextSupportHash)
    findings.raise_any()
    return request


def _participants(request: KeyRequest) -> list[dict[str, Any]]:
    headers = (one.header for one in request.submissions)
    return [
        {"miner": header.miner, "submissionHash": header.submission_hash, "scoreCommit": header.score_commit}
        for header in headers
    ]


def _named(participants: Sequence[Participant]) -> list[dict[str, Any]]:
    return [
        {"miner": one.miner, "submissionHash": one.submissionHash, "scoreCommit": one.scoreCommit}
        for one in participants
    ]


def _check_sums(task: Task, audit: Audit, dropped: list[int], participants: int, support_size: int) -> None:
    """Lengths and ranges of the audit's sums, and zeros in dropped groups."""
    findings, groups, pack = Findings(), task.groups(support_size), task.quantization.pack
    for name, data, expected in (
        ("maskSums", audit.mask_sums, 32 * groups),
        ("aggregate", audit.aggregate, 8 * support_size),
    ):
        if len(data) != expected:
            raise Malformed(f"audit: {name} has {len(data)} bytes, expected {expected}")
    limit = participants * task.level
    findings.require(below_q(audit.mask_sums), "audit: a mask sum that is not below q", Malformed)
    findings.require(_is_within(audit.aggregate, limit), f"audit: a sum beyond n*c = {limit}")
    in_order = sorted(set(dropped)) == dropped and all(group < groups for group in dropped)
    findings.require(in_order, f"block: dropped must name groups below {groups}, ascending, once each")
    if in_order:
        zero = all(not array_of(audit.aggregate, "<i8", group * pack, pack).any() for group in dropped)
        findings.require(zero, "audit: a dropped group whose sums are not zero")
    findings.raise_any()


def _is_within(sums: Bytes, limit: int) -> bool:
    """Whether each |X_j| is at most `limit`."""
    parts = (array_of(sums, "<i8", at, PIECE // 8) for at in range(0, len(sums) // 8, PIECE // 8))
    return all(bool(((limit >= X) & (-limit <= X)).all()) for X in parts)


def _check_wishes(task: Task, request: KeyRequest, wishes: Sequence[Bytes | None], next_support_hash: str) -> None:
    """The wishes are those of the headers, and the next support is the one that they vote for."""
    if len(wishes) != len(request.submissions):
        raise Malformed(f"audit: {len(wishes)} wishes for {len(request.submissions)} participants")
    findings = Findings()
    for index, (one, wish) in enumerate(zip(request.submissions, wishes, strict=True)):
        with findings.gather(f"participant {index}: "):
            check_wish(task, one.header, wish)
    findings.raise_any()
    support = support_pieces(task.task_id, task.round + 1, task.dimension, task.ratio, wishes)
    expected = to_hex(keccak256_pieces(support))
    findings.require(
        expected == next_support_hash, f"block: nextSupportHash is {next_support_hash}, expected {expected}"
    )
    findings.raise_any()
