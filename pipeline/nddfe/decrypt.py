"""The aggregator's half: from the sum of ciphertexts and all masks to the sum of values (docs/protocol.md, section 7)."""

from collections.abc import Sequence

import numpy as np

from pipeline.curve.contract import Kernel, Points, Scalars
from pipeline.nddfe.packing import Values, unpack
from pipeline.protocol.task import Task


def decrypt(
    kernel: Kernel, task: Task, support_size: int, submissions: Sequence[Points], mask_sums: Scalars
) -> tuple[Values, list[int]]:
    """X for the k coordinates of the support, and the numbers of the groups that are dropped (zeros there).

    `submissions`: uint64[G, 8] each, without the blinding point; `mask_sums`: M_g, uint64[G, 4].
    """
    participants = len(submissions)
    if participants == 0:
        raise ValueError("a sum needs at least one submission")
    if support_size == 0:
        return np.zeros(0, dtype=np.int64), []
    bare = kernel.unmask(submissions, task.publisher_key, mask_sums)
    packed, found = kernel.logarithms(bare, task.sum_bound(participants))
    return unpack(
        packed,
        found,
        base=task.base,
        size=task.quantization.pack,
        count=support_size,
        limit=participants * task.level,
    )
