"""The parties of a measured round: their keys, the signed task, and a sum that really goes through the encryption."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from bench.learning_cases import Plan
from pipeline.aggregation.collect import check_submission
from pipeline.aggregation.decrypt import aggregate
from pipeline.aggregation.function_key import build_request, check_key, issue_key, own_stream_key
from pipeline.curve.contract import Kernel
from pipeline.errors import FleetError
from pipeline.nddfe.encrypt import Randomness, encrypt
from pipeline.nddfe.packing import Values, pack, unpack
from pipeline.nddfe.score import NONCE_BYTES, commitment, score_uint
from pipeline.protocol.encodings import PROTOCOL, keccak256, sha256, to_hex
from pipeline.protocol.signing import SecretKey
from pipeline.protocol.submission import Header, Submission
from pipeline.protocol.task import MAX_PACKED, Task

#: A larger pack's sums are dearer to take the logarithm of than the points that it saves.
_DEAREST = 2**32


@lru_cache(maxsize=64)
def _key(name: str) -> SecretKey:
    """Fixed: a bench has nothing to hide, and its bytes are the same on every machine."""
    return SecretKey(sha256(b"flfleet learning bench\n" + name.encode()))


def pack_of(miners: int, level: int) -> int:
    """Coordinates a point: as many as the logarithm of a sum stays cheap with."""
    base, size = 2 * miners * level + 1, 1
    while base ** (size + 1) <= min(_DEAREST, MAX_PACKED):
        size += 1
    return size


def task_of(plan: Plan, number: int, miners: int, dimension: int, support: bytes | None) -> Task:
    """Round `number`'s signed task; its ratio sizes the wishes, and so the next round."""
    publisher, aggregator = _key("publisher"), _key("aggregator")
    level = int(plan.clip * plan.scale + 0.5)
    document = {
        "protocol": PROTOCOL,
        "taskID": "bench-learning",
        "round": number,
        "dataset": "bench",
        "dimension": dimension,
        "modelURL": "http://127.0.0.1/model",
        "modelSHA256": to_hex(bytes(32)),
        "aggregatorPublicKey": aggregator.public_key,
        "tpPublicKey": publisher.public_key,
        "aggregatorURL": "http://127.0.0.1",
        "publisherURL": "http://127.0.0.1",
        "miners": [_key(f"miner {place}").address for place in range(miners)],
        "minMiners": miners,
        "maxMiners": miners,
        "compression": {"ratio": plan.share(number + 1)},
        "quantization": {"scale": plan.scale, "clip": plan.clip, "pack": pack_of(miners, level)},
        "maxRounds": plan.rounds,
        "publishedAt": 1764000000,
    }
    if number > 1:
        document["parentBlockHash"] = to_hex(bytes(32))
    if support is not None:
        document["support"] = {"url": "http://127.0.0.1/support", "hash": to_hex(keccak256(support))}
    return Task.from_document(document | {"signature": publisher.sign("task", document)})


def plain_sum(task: Task, values: list[NDArray[np.int32]]) -> Values:
    """What the encryption gives back, without it: the packed integers are added and taken apart again. Raises FleetError for a dropped group."""
    size = task.quantization.pack
    packed = np.sum([pack(each, task.base, size) for each in values], axis=0)
    sums, dropped = unpack(
        packed,
        np.ones(len(packed), dtype=np.bool_),
        base=task.base,
        size=size,
        count=len(values[0]),
        limit=len(values) * task.level,
    )
    if dropped:
        raise FleetError(f"groups {dropped[:5]} of a sum of checked values were dropped")
    return sums


@dataclass(frozen=True)
class Sum:
    """What the aggregator reads, and what the largest submission weighed on the wire."""

    values: Values
    bytes_sent: int


def encrypted_sum(task: Task, values: list[NDArray[np.int32]], wishes: list[bytes], kernel: Kernel) -> Sum:
    """Every party's half, one after the other, with every check of section 5 to 7. Raises Rejected, FleetError."""
    count, groups = len(values[0]), task.groups(len(values[0]))
    publisher, aggregator = _key("publisher"), _key("aggregator")
    submissions = [
        _submission(task, _key(f"miner {place}"), each, wish, kernel)
        for place, (each, wish) in enumerate(zip(values, wishes, strict=True))
    ]
    points = [check_submission(task, one, count, kernel) for one in submissions]
    request = build_request(task, submissions, aggregator, groups, kernel)
    key = issue_key(task, request, publisher, groups, kernel)
    check_key(task, request, key, groups)
    streams = [own_stream_key("agg", task, one.header, aggregator) for one in submissions]
    result = aggregate(task, count, points, streams, key, kernel)
    if result.dropped:
        raise FleetError(f"groups {result.dropped[:5]} of a sum of honest submissions were dropped")
    return Sum(result.values, max(len(one.encode()) for one in submissions))


def _submission(task: Task, miner: SecretKey, values: NDArray[np.int32], wish: bytes, kernel: Kernel) -> Submission:
    score = score_uint(values, task.quantization.scale)
    made = encrypt(
        kernel,
        task,
        miner.point33,
        pack(values, task.base, task.quantization.pack),
        score_commit=commitment(score, bytes(NONCE_BYTES), task.task_id, miner.address),
        wish=wish,
        randomness=Randomness.fresh(),
    )
    return Submission(
        header=Header.from_document(made.header),
        signature=miner.sign("submission", made.header),
        ciphertext=made.ciphertext,
        wish=wish,
    )
