"""The key request, the publisher's answer, and what each side checks of the other (docs/protocol.md, section 6). Pure:
"one key per (taskID, round) for ever" is the publisher's storage."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from pipeline.aggregation.collect import check_header
from pipeline.aggregation.findings import Findings
from pipeline.curve.arrays import bytes_from_words
from pipeline.curve.contract import Kernel, Q
from pipeline.errors import BadProof, Malformed, Rejected
from pipeline.nddfe.context import Party, context_of, stream_key
from pipeline.nddfe.keystream import masks
from pipeline.nddfe.mask_sum import chunks, mask_sum
from pipeline.protocol.encodings import scalar_to_hex
from pipeline.protocol.file_bytes import Bytes, pieces
from pipeline.protocol.function_key import FunctionKey, KeyRequest, SignedHeader, key_body
from pipeline.protocol.signing import SecretKey, check_signature
from pipeline.protocol.submission import Header, Submission
from pipeline.protocol.task import Task


class InvalidMasks(BadProof):
    """Submissions whose masks are not those of their keys. Nothing is spent: the aggregator asks again without them."""

    def __init__(self, *invalid: str) -> None:
        super().__init__(*(f"invalid masks in submission {submission}" for submission in invalid))
        #: submissionHash of each.
        self.invalid: list[str] = list(invalid)


def own_stream_key(party: Party, task: Task, header: Header, own: SecretKey) -> bytes:
    """K_tp or K_agg of a submission, as the party that owns the secret key derives it."""
    shared = own.shared_point33(header.mask_key)
    return stream_key(party, shared, context_of(task, header.miner_key, header.mask_key))


def build_request(
    task: Task,
    submissions: Sequence[SignedHeader | Submission],
    aggregator: SecretKey,
    group_count: int,
    kernel: Kernel,
) -> KeyRequest:
    """The signed request for submissions in order of receipt. `group_count`: G."""
    headers = [submission.header for submission in submissions]
    sums = [
        mask_sum(kernel, own_stream_key("agg", task, header, aggregator), header.statement_hash, group_count)
        for header in headers
    ]
    document: dict[str, Any] = {
        "taskID": task.task_id,
        "round": task.round,
        "taskHash": task.task_hash,
        "submissions": [{"header": one.header.document, "signature": one.signature} for one in submissions],
        "maskSums": [scalar_to_hex(value) for value in sums],
    }
    signature = aggregator.sign("key-request", document)
    return KeyRequest.from_envelope({"request": document, "signature": signature})


def check_request(task: Task, request: KeyRequest) -> None:
    """All that can be checked of a request without a mask stream, by anyone. Raises Rejected with all reasons."""
    findings = Findings()
    with findings.gather():
        check_signature(
            "key-request", request.document, request.signature, task.aggregator_address, "the aggregator's key request"
        )
    findings.require(
        (request.task_id, request.round) == (task.task_id, task.round),
        f"another task: this is {task.task_id!r} round {task.round}, the request names {request.task_id[:64]!r} round {request.round}",
    )
    findings.require(
        request.task_hash == task.task_hash, f"unknown task hash: expected {task.task_hash}, got {request.task_hash}"
    )
    count, headers = len(request.submissions), [one.header for one in request.submissions]
    findings.require(
        task.min_miners <= count <= task.max_miners,
        f"number of participants: from {task.min_miners} to {task.max_miners}, got {count}",
    )
    findings.require(len({header.miner for header in headers}) == count, "a miner stands twice in the request")
    findings.require(len({header.mask_key for header in headers}) == count, "a maskKey stands twice in the request")
    for index, one in enumerate(request.submissions):
        with findings.gather(f"submission {index}: "):
            check_header(task, one.header, one.signature)
    findings.raise_any()


def issue_key(task: Task, request: KeyRequest, publisher: SecretKey, group_count: int, kernel: Kernel) -> FunctionKey:
    """The key of a request that holds, in memory: `key_pieces`, signed."""
    return sign_key(request, b"".join(key_pieces(task, request, publisher, group_count, kernel)), publisher)


def sign_key(request: KeyRequest, key: Bytes, publisher: SecretKey) -> FunctionKey:
    """The publisher's word that `key` (32 bytes a group) is that of the request."""
    unsigned = FunctionKey(key=key, signature="")
    return FunctionKey(key=key, signature=publisher.sign("key", unsigned.body(request)))


def key_pieces(
    task: Task, request: KeyRequest, publisher: SecretKey, group_count: int, kernel: Kernel
) -> Iterator[bytes]:
    """k_0 .. k_(G-1) of a request that holds, 32 bytes each, in chunks. `group_count`: G of the task's support.

    Raises Rejected with all reasons; InvalidMasks where nothing else is wrong and `a == R_i + S_i` fails for some; both before
    the first chunk.
    """
    if publisher.address != task.publisher_address:
        raise Rejected(f"task: its publisher is {task.publisher_address}, not this one ({publisher.address})")
    check_request(task, request)
    streams = [own_stream_key("tp", task, one.header, publisher) for one in request.submissions]
    invalid = []
    for one, stream, S in zip(request.submissions, streams, request.mask_sums, strict=True):
        R = mask_sum(kernel, stream, one.header.statement_hash, group_count)
        if one.header.proof.a != (R + S) % Q:
            invalid.append(one.header.submission_hash)
    if invalid:
        raise InvalidMasks(*invalid)
    yield from _sums(kernel, streams, group_count)


def check_key(task: Task, request: KeyRequest, key: FunctionKey, group_count: int) -> None:
    """The aggregator's check of an answer. Raises Rejected with all reasons: signature over request and keyHash, length, range."""
    findings = Findings()
    with findings.gather():
        check_key_signature(task, request, key.key_hash, key.signature)
    findings.require(
        len(key.key) == 32 * group_count,
        f"function key: expected {32 * group_count} bytes for {group_count} groups, got {len(key.key)}",
        Malformed,
    )
    findings.require(below_q(key.key), "function key: a word that is not below q", Malformed)
    findings.raise_any()


def check_key_signature(task: Task, request: KeyRequest, key_hash: str, signature: str) -> None:
    """Raises BadSignature unless the publisher answered this request with the key of that hash."""
    body = key_body(request, key_hash)
    check_signature("key", body, signature, task.publisher_address, "the publisher's function key")


def below_q(words: Bytes) -> bool:
    """Whether each 32-byte word is a scalar in its only form."""
    return all(_is_below_q(piece) for piece in pieces(words))


def _is_below_q(words: bytes | memoryview) -> bool:
    limbs = np.frombuffer(words, dtype=">u8").reshape(-1, 4)
    reached = np.ones(len(limbs), dtype=np.bool_)  # every limb so far is q's own
    beyond = np.zeros(len(limbs), dtype=np.bool_)
    for at in range(4):
        limb = np.uint64(Q >> (192 - 64 * at) & 2**64 - 1)
        beyond |= reached & (limbs[:, at] > limb)
        reached &= limbs[:, at] == limb
    return not (beyond | reached).any()


def _sums(kernel: Kernel, streams: Sequence[bytes], group_count: int) -> Iterator[bytes]:
    """k_g = sum over i of r_g, in chunks of 32-byte words."""
    for first, count in chunks(group_count):
        yield bytes_from_words(kernel.add_scalars([masks(kernel, stream, first, count) for stream in streams]))
