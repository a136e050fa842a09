"""Stage 4, compress: delta and what earlier rounds left behind, as small integers on the round's support."""

import numpy as np
from numpy.typing import NDArray

from pipeline.learning.compression import compress, returned, wish
from pipeline.protocol.block import Block
from pipeline.protocol.encodings import indices_from_bitmap
from pipeline.stages.contract import Job, Output, PreviousRun
from pipeline.stores.artifacts import ArtifactStore


def run(job: Job) -> Output:
    """Artifacts `values` int32[k], `residual` float32[d] and `wish`, a bitmap."""
    task = job.task
    delta: NDArray[np.float32] = job.artifacts.get_array(job.inputs["delta"])
    residual = _residual(job)
    support = _support(job.artifacts, job.inputs.get("support"), task.dimension)
    compressed = compress(delta, residual, support, scale=task.quantization.scale, clip=task.quantization.clip)
    wished = wish(compressed.residual, delta, task.ratio)
    clipped = int((np.abs(compressed.values) == task.level).sum())
    figures = {
        "coordinates": len(compressed.values),
        "atLimit": clipped,
        "residualNorm": float(np.linalg.norm(compressed.residual)),
    }
    artifacts = {
        "values": job.artifacts.put_array(compressed.values),
        "residual": job.artifacts.put_array(compressed.residual),
        "wish": job.artifacts.put(wished),
    }
    return Output(artifacts=artifacts, figures=figures)


def _residual(job: Job) -> NDArray[np.float32] | None:
    """What this identity's last submitted run left behind, with what its round did not accept given back."""
    before = job.previous
    if before is None:
        return None
    values: NDArray[np.int32] = job.artifacts.get_array(before.artifacts["values"])
    return returned(
        job.artifacts.get_array(before.artifacts["residual"]),
        values,
        _support(job.artifacts, before.artifacts.get("support"), before.task.dimension),
        scale=before.task.quantization.scale,
        pack=before.task.quantization.pack,
        dropped=_dropped(job, before),
    )


def _dropped(job: Job, before: PreviousRun) -> list[int] | None:
    """The groups that the previous round dropped; None where it did not take this identity's submission at all."""
    name = job.inputs.get("parent_block")
    if name is None:
        return None
    block = Block.decode(job.artifacts.get(name))
    taken = {participant.submissionHash for participant in block.fields.participants}
    if block.fields.round != before.round or before.submission_hash not in taken:
        return None
    return list(block.fields.dropped)


def _support(store: ArtifactStore, digest: str | None, dimension: int) -> NDArray[np.int64] | None:
    return None if digest is None else indices_from_bitmap(store.get(digest), dimension, "support")
