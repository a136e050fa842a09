"""Stage 6, encrypt: the update under the publisher's and the aggregator's public keys (docs/protocol.md, sections 4 and 5).

Needs no secret of the identity; the submission's own secrets live in one call and are forgotten with it.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.curve.select import kernel
from pipeline.errors import Corrupt
from pipeline.nddfe.encrypt import Randomness, encrypt
from pipeline.nddfe.packing import Packed
from pipeline.nddfe.score import commitment
from pipeline.protocol.encodings import count_bits, from_hex, to_hex
from pipeline.protocol.file_bytes import pieces
from pipeline.protocol.signing import canonical
from pipeline.protocol.strict import read_json
from pipeline.stages.contract import Job, Output


def run(job: Job) -> Output:
    """Reads `values`, `opening`, [`wish`], [`support`]; writes `header` (JSON, unsigned, with proof) and `ciphertext`."""
    task, support_size = job.task, _support_size(job)
    with job.artifacts.temporary() as file:
        made = encrypt(
            kernel(job.settings.curve_kernel, job.settings.cache, job.settings.curve_threads),
            task,
            job.identity.point33,
            _packed(job, support_size),
            score_commit=_score_commit(job),
            wish=job.artifacts.opened(job.inputs["wish"]) if "wish" in job.inputs else None,
            randomness=Randomness.fresh(),
            into=file,
        )
    return Output(
        artifacts={
            "header": job.artifacts.put(canonical(made.header), durable=True),
            "ciphertext": job.artifacts.put_pieces(pieces(made.ciphertext), durable=True),
        },
        figures={"points": task.groups(support_size) + 1, "ciphertextBytes": len(made.ciphertext)},
    )


def _packed(job: Job, size: int) -> Packed:
    """m_0 .. m_(G-1) of `values`, which must be what the task's quantisation makes: one wrong value would cost all miners a group."""
    values: NDArray[Any] = job.artifacts.get_array(job.inputs["values"])
    level = job.task.level
    if values.shape != (size,) or not np.issubdtype(values.dtype, np.signedinteger):
        raise Corrupt(f"values: expected {size} signed integers, got {values.dtype}{list(values.shape)}")
    if values.size and (values.max() > level or values.min() < -level):
        raise Corrupt(f"values: one is beyond c = {level}")
    return Packed(values, job.task.base, job.task.quantization.pack)


def _support_size(job: Job) -> int:
    """k: the bits of the support, all d coordinates where the task names none."""
    if "support" not in job.inputs:
        return job.task.dimension
    return count_bits(job.artifacts.opened(job.inputs["support"]), job.task.dimension, "support")


def _score_commit(job: Job) -> bytes:
    """Made again from the stored opening, so that a header never commits to what cannot be opened."""
    opening = read_json(job.artifacts.get(job.inputs["opening"]))
    nonce = from_hex(opening["nonce"], 32, "opening: nonce")
    commit = commitment(int(opening["score"]), nonce, job.task.task_id, job.identity.address)
    expected = job.figures["scoreCommit"]
    if expected != to_hex(commit):
        raise Corrupt(f"opening: it opens {to_hex(commit)}, but the run committed to {expected}")
    return commit
