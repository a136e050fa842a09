"""The miner's half: from small integers to a ciphertext and a header with its proof (docs/protocol.md, sections 4 and 5)."""

import io
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from pipeline.curve.arrays import words_from_ints
from pipeline.curve.contract import Kernel, Points, Q
from pipeline.curve.generators import H
from pipeline.nddfe.context import context_of, stream_key
from pipeline.nddfe.keystream import masks, weights
from pipeline.nddfe.mask_sum import chunks, mask_sum, weights_key
from pipeline.nddfe.packing import Groups
from pipeline.nddfe.proof import prove
from pipeline.protocol.encodings import (
    PROTOCOL,
    address_of,
    keccak256_of,
    public_key_text,
    scalar_to_hex,
    to_hex,
)
from pipeline.protocol.file_bytes import Bytes, FileBytes
from pipeline.protocol.signing import SecretKey, digest_of
from pipeline.protocol.task import Task


@dataclass(frozen=True, kw_only=True, repr=False)
class Randomness:
    """The secrets of one submission, each uniform in 1 .. q-1. They live in one call of `encrypt` and nowhere else."""

    #: e, of which E = e*g and both stream keys are made: who has it reads the update.
    ephemeral: int
    #: m_G, the value of the last point: it hides b in the proof.
    blinding: int
    #: Of the proof's T.
    beta: int

    @classmethod
    def fresh(cls) -> "Randomness":
        """From the system's randomness."""
        return cls(ephemeral=_scalar(), blinding=_scalar(), beta=_scalar())


@dataclass(frozen=True, kw_only=True)
class Encryption:
    """What a miner sends, without its signature."""

    #: The header with `proof`.
    header: dict[str, Any]
    #: points32 of U_0 .. U_G.
    ciphertext: Bytes


def encrypt(
    kernel: Kernel,
    task: Task,
    miner_key: bytes,
    packed: Groups,
    *,
    score_commit: bytes,
    wish: Bytes | None,
    randomness: Randomness,
    into: IO[bytes] | None = None,
) -> Encryption:
    """Encrypts the groups m_0 .. m_(G-1) (`packing.pack`) for a task, under public keys only (`miner_key`: point33).

    `into`: an open, empty file in which the ciphertext then stays; None: in memory. Raises ValueError where a group is beyond 2^40.
    """
    e = SecretKey(randomness.ephemeral.to_bytes(32, "big"))
    context = context_of(task, miner_key, e.point33)
    tp = stream_key("tp", e.shared_point33(task.publisher_key), context)
    agg = stream_key("agg", e.shared_point33(task.aggregator_key), context)
    points = _points(kernel, task.publisher_key, packed, randomness.blinding, tp, agg)
    ciphertext = _points32(kernel, points, len(packed) + 1, into)

    header: dict[str, Any] = {
        "protocol": PROTOCOL,
        "taskID": task.task_id,
        "round": task.round,
        "taskHash": task.task_hash,
        "miner": address_of(miner_key),
        "minerPublicKey": public_key_text(miner_key),
        "maskKey": to_hex(e.point33),
        "ciphertextHash": to_hex(keccak256_of(ciphertext)),
        "scoreCommit": to_hex(score_commit),
    }
    if wish is not None:
        header["wishHash"] = to_hex(keccak256_of(wish))

    h0 = digest_of("statement", header)
    a = (mask_sum(kernel, tp, h0, len(packed)) + mask_sum(kernel, agg, h0, len(packed))) % Q
    b = _value_sum(kernel, h0, packed, randomness.blinding)
    proof = prove(kernel, task.publisher_key, h0, a, b, randomness.beta)
    header["proof"] = {"t": to_hex(proof.t), "a": scalar_to_hex(proof.a), "z": scalar_to_hex(proof.z)}
    return Encryption(header=header, ciphertext=ciphertext)


def _points(
    kernel: Kernel, publisher_key: bytes, packed: Groups, blinding: int, tp: bytes, agg: bytes
) -> Iterator[Points]:
    """U_0 .. U_G in chunks."""
    groups = len(packed)
    for first, count in chunks(groups + 1):
        sums = kernel.add_scalars([masks(kernel, tp, first, count), masks(kernel, agg, first, count)])
        values = packed[first : first + count]
        if first + count <= groups:
            yield kernel.encrypt(publisher_key, sums, values)
        else:
            # m_G is a whole scalar, so it goes in as a mask on H and not as a value.
            points = kernel.encrypt(publisher_key, sums, np.append(values, np.int64(0)))
            blind = kernel.encrypt(H, words_from_ints([blinding], 4), np.zeros(1, dtype=np.int64))
            points[-1:] = kernel.weighted_sum(np.concatenate([points[-1:], blind]), words_from_ints([1, 1], 2))
            yield points


def _points32(kernel: Kernel, parts: Iterator[Points], count: int, into: IO[bytes] | None) -> Bytes:
    """points32 of `count` points: a chunk is a multiple of 8 points, so that the bits of y join without a shift."""
    file, first = into or io.BytesIO(), 0
    for points in parts:
        data = kernel.write_points32(points)
        file.seek(32 * first)
        file.write(data[: 32 * len(points)])
        file.seek(32 * count + first // 8)
        file.write(data[32 * len(points) :])
        first += len(points)
    return file.getvalue() if isinstance(file, io.BytesIO) else FileBytes.of(file)


def _value_sum(kernel: Kernel, statement_hash: bytes, packed: Groups, blinding: int) -> int:
    """b = sum of rho_g m_g over g = 0 .. G."""
    rho, groups = weights_key(statement_hash), len(packed)
    last = kernel.dot(weights(rho, groups, 1), words_from_ints([blinding], 4))
    parts = (kernel.dot_values(weights(rho, at, n), packed[at : at + n]) for at, n in chunks(groups))
    return (sum(parts) + last) % Q


def _scalar() -> int:
    return secrets.randbelow(Q - 1) + 1
