"""Tasks for tests: the small dense one, signed by keys that the tests know."""

import time
from typing import Any

from pipeline.protocol.signing import SecretKey
from pipeline.protocol.task import Task

PUBLISHER, AGGREGATOR = SecretKey(b"\x01" * 32), SecretKey(b"\x02" * 32)
MINERS = tuple(SecretKey(bytes([10 + number]) * 32) for number in range(5))


def document(*, sign: bool = True, key: SecretKey = PUBLISHER, **changes: Any) -> dict[str, Any]:
    members: dict[str, Any] = {
        "protocol": "ndd-fe/1",
        "taskID": "task_001",
        "round": 1,
        "dataset": "digits",
        "dimension": 5000,
        "modelURL": "http://127.0.0.1:1/models/m",
        "modelSHA256": "0x" + "ab" * 32,
        "aggregatorPublicKey": AGGREGATOR.public_key,
        "tpPublicKey": PUBLISHER.public_key,
        "aggregatorURL": "http://127.0.0.1:1",
        "publisherURL": "http://127.0.0.1:1",
        "miners": [miner.address for miner in MINERS],
        "minMiners": 3,
        "maxMiners": 5,
        "compression": {"ratio": 0.1},
        "quantization": {"scale": 50, "clip": 0.06, "pack": 5},
        "publishedAt": int(time.time()),
        "timeout": 3600,
    }
    members.update(changes)
    members = {name: value for name, value in members.items() if value is not None}
    return members | {"signature": key.sign("task", members)} if sign else members


def make_task(**changes: Any) -> Task:
    return Task.from_document(document(**changes))
