"""Who can compute which half of a submission's masks (PROTOCOL.md section 4).

miner        both, from e, which it forgets
publisher    r_g, from sk_TP and E
aggregator   s_g, from sk_A and E
"""

import struct
from dataclasses import dataclass

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from pipeline.curve.contract import Kernel, Scalars
from pipeline.nddfe.streams import words
from pipeline.protocol.encodings import PROTOCOL, sha256
from pipeline.protocol.signing import SecretKey
from pipeline.protocol.submission import Header
from pipeline.protocol.task import Task


@dataclass(frozen=True, kw_only=True)
class MaskKeys:
    """K_tp and K_agg of one submission, 32 bytes each."""

    publisher: bytes
    aggregator: bytes

    def __repr__(self) -> str:
        return "MaskKeys(...)"


def context_of(task: Task, miner_key: bytes, mask_key: bytes) -> bytes:
    """What a submission's keys are bound to, 32 bytes."""
    name = task.task_id.encode()
    head = PROTOCOL.encode() + struct.pack(">H", len(name)) + name + struct.pack(">Q", task.round)
    return sha256(head + task.publisher_key + task.aggregator_key + miner_key + mask_key)


def miner_keys(task: Task, ephemeral: SecretKey, miner_key: bytes) -> MaskKeys:
    """Both keys, from the ephemeral secret e (E = e*g is its public key)."""
    context = context_of(task, miner_key, ephemeral.point33)
    return MaskKeys(
        publisher=_derive(ephemeral.shared_point33(task.publisher_key), b"tp", context),
        aggregator=_derive(ephemeral.shared_point33(task.aggregator_key), b"agg", context),
    )


def publisher_key(task: Task, publisher: SecretKey, header: Header) -> bytes:
    """K_tp, from sk_TP and E."""
    context = context_of(task, header.miner_key, header.mask_key)
    return _derive(publisher.shared_point33(header.mask_key), b"tp", context)


def aggregator_key(task: Task, aggregator: SecretKey, header: Header) -> bytes:
    """K_agg, from sk_A and E."""
    context = context_of(task, header.miner_key, header.mask_key)
    return _derive(aggregator.shared_point33(header.mask_key), b"agg", context)


def masks(key: bytes, start: int, count: int, kernel: Kernel) -> Scalars:
    """Masks start .. start + count - 1 under a mask key: uint64[count, 4], mod q."""
    return kernel.reduce(words(key, 32, start, count))


def _derive(shared_point33: bytes, label: bytes, context: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=PROTOCOL.encode() + b" " + label, info=context).derive(
        shared_point33
    )
