"""Stage 4: delta becomes k small integers on the round's support; what does not fit waits for the next round."""

import numpy as np
from numpy.typing import NDArray

from pipeline.learning.compression import compress, returned, wish
from pipeline.protocol.block import Block
from pipeline.protocol.encodings import indices_from_bitmap
from pipeline.stages.contract import Job, Output, PreviousRun
from pipeline.stores.artifacts import ArtifactStore


def run(job: Job) -> Output:
    """PROTOCOL.md section 3. Artifacts `values` int32[k], `residual` float32[d], `wish` (bitmap of d bits).

    Figures: coordinates, nonzero, atLimit (of the largest size), wished, residualNorm. Raises Rejected, Corrupt.
    """
    task, artifacts = job.task, job.artifacts
    delta: NDArray[np.float32] = artifacts.get_array(job.inputs["delta"])
    support = _support(artifacts, job.inputs.get("support"), task.dimension)
    made = compress(delta, residual_before(job), support, scale=task.quantization.scale, clip=task.quantization.clip)
    wished = wish(made.residual, delta, task.ratio)
    return Output(
        artifacts={
            "values": artifacts.put_array(made.values),
            "residual": artifacts.put_array(made.residual),
            "wish": artifacts.put(wished),
        },
        figures={
            "coordinates": len(made.values),
            "nonzero": int(np.count_nonzero(made.values)),
            "atLimit": int(np.count_nonzero(np.abs(made.values) == task.level)),
            "wished": len(indices_from_bitmap(wished, task.dimension, "wish")),
            "residualNorm": float(np.linalg.norm(made.residual.astype(np.float64))),
        },
    )


def residual_before(job: Job) -> NDArray[np.float32] | None:
    """float32[d]: what earlier rounds of this task left behind, and what they did not accept.

    None in an identity's first round of a task, and where the model has another dimension than before.
    """
    before = job.previous
    if before is None or before.task.dimension != job.task.dimension:
        return None
    block = Block.decode(job.artifacts.get(job.inputs["parent_block"]))
    values: NDArray[np.int32] = job.artifacts.get_array(before.artifacts["values"])
    return returned(
        job.artifacts.get_array(before.artifacts["residual"]),
        values,
        _support(job.artifacts, before.artifacts.get("support"), before.task.dimension),
        scale=before.task.quantization.scale,
        pack=before.task.quantization.pack,
        dropped=dropped(before, block),
    )


def dropped(before: PreviousRun, block: Block) -> list[int] | None:
    """The groups of the previous update that the sum behind the parent block left out; None: all of it.

    A parent from before that update: no block came of its round, nothing was taken. One from after it (this miner sat a
    round out): its round's block is not at hand, and an update must never count twice, so it is held to be taken.
    """
    if block.fields.round < before.round:
        return None
    if block.fields.round > before.round:
        return []
    taken = any(each.submissionHash == before.submission_hash for each in block.fields.participants)
    return list(block.fields.dropped) if taken else None


def _support(artifacts: ArtifactStore, digest: str | None, dimension: int) -> NDArray[np.int64] | None:
    return None if digest is None else indices_from_bitmap(artifacts.get(digest), dimension, "support")
