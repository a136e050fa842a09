"""Context and stream keys of one submission (docs/protocol.md, section 4)."""

from typing import Literal

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from pipeline.protocol.encodings import sha256
from pipeline.protocol.task import Task

#: Whose half of a mask a stream is.
Party = Literal["tp", "agg"]


def context_of(task: Task, miner_key: bytes, mask_key: bytes) -> bytes:
    """The 32 bytes that bind a submission's streams to task, round and all four keys (`miner_key`, `mask_key`: point33)."""
    task_id = task.task_id.encode()
    return sha256(
        b"ndd-fe/1"
        + len(task_id).to_bytes(2, "big")
        + task_id
        + task.round.to_bytes(8, "big")
        + task.publisher_key
        + task.aggregator_key
        + miner_key
        + mask_key
    )


def stream_key(party: Party, shared_point33: bytes, context: bytes) -> bytes:
    """K_tp or K_agg, 32 bytes, of the point33 that the miner and that party share (e*pk = sk*E)."""
    salt = b"ndd-fe/1 " + party.encode()
    return HKDF(algorithm=SHA256(), length=32, salt=salt, info=context).derive(shared_point33)
