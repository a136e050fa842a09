"""Stage 4: delta becomes k small integers on the round's support; what does not fit waits for the next round."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.learning.compression import Compressed, compress, returned, wish
from pipeline.learning.selection import spans
from pipeline.protocol.block import Block
from pipeline.protocol.encodings import from_hex, indices_from_bitmap
from pipeline.stages.contract import Job, Output, PreviousRun
from pipeline.stores.artifacts import ArtifactStore


def run(job: Job) -> Output:
    """docs/protocol.md, section 3. Artifacts `values` int32[k], `residual` float32[d], `wish` (bitmap of d bits).

    Figures: coordinates, nonzero, atLimit (of the largest size), wished, residualNorm. Raises Rejected, Corrupt.
    """
    task, artifacts = job.task, job.artifacts
    delta: NDArray[np.float32] = artifacts.get_array(job.inputs["delta"])
    support = _support(artifacts, job.inputs.get("support"), task.dimension)
    size, dimension = task.dimension if support is None else len(support), task.dimension
    with (
        artifacts.new_array(size, np.int32) as values,
        artifacts.new_array(dimension, np.float32) as residual,
        artifacts.new_array(dimension, np.float32) as before,
    ):
        made = compress(
            delta,
            without_statistics(residual_before(job, before.array), job.figures.get("statistics", [])),
            support,
            scale=task.quantization.scale,
            clip=task.quantization.clip,
            into=Compressed(values=values.array, residual=residual.array),
        )
        wished = wish(made.residual, delta, task.ratio)
        return Output(
            artifacts={"values": values.store(), "residual": residual.store(), "wish": artifacts.put(wished)},
            figures={
                "coordinates": size,
                "nonzero": int(np.count_nonzero(made.values)),
                "atLimit": _count_at(made.values, task.level),
                "wished": sum(byte.bit_count() for byte in wished),
                "residualNorm": _norm(made.residual),
            },
        )


def residual_before(job: Job, into: NDArray[np.float32] | None = None) -> NDArray[np.float32] | None:
    """float32[d], written to `into`: what earlier rounds of this task left behind, and what they did not accept.

    None in an identity's first round of a task, where the model has another dimension than before, and where it is not the
    one that the parent block came to: what another line of models left behind says nothing about this one.
    """
    before = job.previous
    if before is None or before.task.dimension != job.task.dimension:
        return None
    block = Block.decode(job.artifacts.get(job.inputs["parent_block"]))
    if from_hex(block.fields.modelHash) != job.task.model_sha256:
        return None
    values: NDArray[np.int32] = job.artifacts.get_array(before.artifacts["values"])
    return returned(
        job.artifacts.get_array(before.artifacts["residual"]),
        values,
        _support(job.artifacts, before.artifacts.get("support"), before.task.dimension),
        scale=before.task.quantization.scale,
        pack=before.task.quantization.pack,
        dropped=dropped(before, block),
        into=into,
    )


def without_statistics(
    residual: NDArray[np.float32] | None, statistics: Sequence[Sequence[int]]
) -> NDArray[np.float32] | None:
    """The residual, zero where batch norm's statistics are: a training measures them anew, so what was left unsent is in its delta.

    `statistics`: (start, stop) among the coordinates. Changes `residual`.
    """
    if residual is not None:
        for start, stop in statistics:
            residual[start:stop] = 0
    return residual


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


def _count_at(values: NDArray[np.int32], level: int) -> int:
    return sum(int(np.count_nonzero(np.abs(values[start:stop]) == level)) for start, stop in spans(len(values)))


def _norm(residual: NDArray[np.float32]) -> float:
    parts = (residual[start:stop].astype(np.float64) for start, stop in spans(len(residual)))
    return math.sqrt(sum(float(part @ part) for part in parts))
