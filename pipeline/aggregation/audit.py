"""Every check of a published candidate block, each with its own reason (docs/protocol.md, section 8). Pure: data in, or Rejected out.

Anybody can run it: nothing here needs a secret, and nobody's values are learned.
Legend: U_(i,g) the points of submission i; M_g the mask sums; m_g the packed sums; rho_g fresh random weights below 2^128.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import IO

import numpy as np

from pipeline.aggregation.block import check_block
from pipeline.aggregation.collect import check_submission
from pipeline.aggregation.findings import Findings
from pipeline.curve.arrays import words_from_bytes, words_from_ints
from pipeline.curve.contract import Kernel, Q, Weights
from pipeline.curve.generators import H
from pipeline.errors import BadProof, Rejected
from pipeline.nddfe.ciphertext import Ciphertext
from pipeline.nddfe.mask_sum import chunks
from pipeline.nddfe.packing import pack
from pipeline.protocol.block import Audit, Block
from pipeline.protocol.coordinates import Coordinates
from pipeline.protocol.file_bytes import FileBytes, array_of
from pipeline.protocol.function_key import KeyRequest
from pipeline.protocol.submission import Submission
from pipeline.protocol.task import Task

#: Gives so many random bytes.
RandomBytes = Callable[[int], bytes]
_ZERO = np.zeros(1, dtype=np.int64)


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A block with all that it takes to check it; bodies may lie on disk. The task's own signature is checked already."""

    task: Task
    block: Block
    audit: Audit
    #: In the request's order, from `GET /aggregator/submissions/{hash}`.
    submissions: tuple[Submission, ...]
    #: The round's.
    support: Coordinates
    #: File of the round's model, whose SHA-256 is checked to be the task's modelSHA256.
    parent: Path

    @property
    def coordinates(self) -> int:
        """k."""
        return self.support.size


def audit_block(
    candidate: Candidate,
    own: Mapping[str, str],
    *,
    max_dropped_share: float,
    kernel: Kernel,
    into: IO[bytes],
    random: RandomBytes = secrets.token_bytes,
) -> FileBytes:
    """Runs all checks and returns the new model, made here and written to `into`, an open, empty file.

    `own`: submissionHash by address, of our identities. Raises Rejected with every reason that was found.
    """
    findings, task, block = Findings(), candidate.task, candidate.block
    request: KeyRequest | None = None
    ciphertexts: list[Ciphertext] = []
    with findings.gather():
        request = check_block(task, block, candidate.audit, candidate.coordinates)
    with findings.gather():
        check_own(block, own)
    with findings.gather():
        check_dropped(candidate, max_dropped_share)
    if request is not None:
        with findings.gather():
            ciphertexts = check_submissions(candidate, request, kernel)
        if ciphertexts:
            with findings.gather():
                check_sum(candidate, ciphertexts, kernel, random)
    if request is not None:
        with findings.gather():
            check_model(candidate, len(request.submissions), into)
    findings.raise_any()
    return FileBytes.of(into)


def check_own(block: Block, own: Mapping[str, str]) -> None:
    """Our submissions stand among the participants, unaltered."""
    named = {one.miner: one.submissionHash for one in block.fields.participants}
    findings = Findings()
    for miner, submission in own.items():
        if miner not in named:
            findings.require(False, f"own submission: {miner} holds a receipt for {submission} and is no participant")
        else:
            findings.require(
                named[miner] == submission,
                f"own submission: the block names {named[miner]} for {miner}, which sent {submission}",
            )
    findings.raise_any()


def check_dropped(candidate: Candidate, max_dropped_share: float) -> None:
    """Not more groups are dropped than the operator bears."""
    dropped, groups = len(candidate.block.fields.dropped), candidate.task.groups(candidate.coordinates)
    if dropped > max_dropped_share * groups:
        raise Rejected(
            f"dropped: {dropped} of {groups} groups, more than a share of {max_dropped_share} (FLFLEET_MAX_DROPPED_SHARE)"
        )


def check_submissions(candidate: Candidate, request: KeyRequest, kernel: Kernel) -> list[Ciphertext]:
    """The submissions are the request's and what an aggregator may take in; U_0 .. U_G of each."""
    if len(candidate.submissions) != len(request.submissions):
        raise Rejected(f"{len(candidate.submissions)} submissions for {len(request.submissions)} participants")
    findings, ciphertexts = Findings(), []
    for one, named in zip(candidate.submissions, request.submissions, strict=True):
        where = f"submission {named.header.submission_hash}: "
        findings.require(
            one.header.document == named.header.document, f"{where}the aggregator shows {one.header.submission_hash}"
        )
        with findings.gather(where):
            ciphertexts.append(check_submission(candidate.task, one, candidate.coordinates, kernel))
    findings.raise_any()
    return ciphertexts


def check_sum(candidate: Candidate, ciphertexts: Sequence[Ciphertext], kernel: Kernel, random: RandomBytes) -> None:
    """sum of U_g == M_g*pk_TP + m_g*H for every group not dropped. Raises BadProof.

    A wrong group passes with probability 2^-128. The weights are drawn here, when all data is held.
    """
    task, audit, size = candidate.task, candidate.audit, candidate.task.quantization.pack
    dropped = np.array(candidate.block.fields.dropped, dtype=np.int64)
    left, masks, values = [], 0, 0
    for first, count in chunks(task.groups(candidate.coordinates)):
        kept = np.flatnonzero(~np.isin(np.arange(first, first + count), dropped))
        if len(kept) == 0:
            continue
        M = words_from_bytes(bytes(audit.mask_sums[32 * first : 32 * (first + count)]), 4)
        X = array_of(audit.aggregate, "<i8", first * size, count * size).astype(np.int64)
        rho: Weights = words_from_bytes(random(16 * len(kept)), 2)
        U = np.concatenate([one.read(kernel, first, count)[kept] for one in ciphertexts])
        left.append(kernel.weighted_sum(U, np.tile(rho, (len(ciphertexts), 1))))
        masks += kernel.dot(rho, M[kept])
        values += kernel.dot_values(rho, pack(X, task.base, size)[kept])
    if not left:
        return
    V = kernel.weighted_sum(np.concatenate(left), words_from_ints([1] * len(left), 2))
    rest = kernel.unmask([V], task.publisher_key, words_from_ints([masks % Q], 4))
    if not np.array_equal(rest, kernel.encrypt(H, words_from_ints([values % Q], 4), _ZERO)):
        raise BadProof("sum: the aggregate is not the sum of the participants' ciphertexts")


def check_model(candidate: Candidate, participants: int, into: IO[bytes]) -> None:
    """The new model, made here and written to `into`, is w_old minus the mean update, bit for bit."""
    from pipeline.aggregation.evaluate import model_pieces  # torch, and only where a model is read

    sums = candidate.audit.aggregate
    if len(sums) != 8 * candidate.coordinates:
        raise Rejected(f"audit: aggregate has {len(sums)} bytes, expected {8 * candidate.coordinates}")
    made = sha256()
    for piece in model_pieces(candidate.parent, candidate.task, sums, candidate.support, participants):
        made.update(piece)
        into.write(piece)
    found, named = f"0x{made.hexdigest()}", candidate.block.fields.modelHash
    if found != named:
        raise Rejected(f"model: modelHash is {named}, the old model minus the update has {found}")


def check_accuracy(before: float, after: float, max_accuracy_loss: float) -> None:
    """The new model is no collapse on data of our own. `before`, `after`: accuracy of the old and the new model, 0 .. 1."""
    if after < before - max_accuracy_loss:
        raise Rejected(
            f"accuracy: {after:.4f} on own held-back data, {before:.4f} before; a loss of more than {max_accuracy_loss} "
            "(FLFLEET_MAX_ACCURACY_LOSS)"
        )
