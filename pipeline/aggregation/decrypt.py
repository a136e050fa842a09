"""From accepted submissions and the function key to the sum of the updates (PROTOCOL.md section 7)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.curve.arrays import bytes_from_words
from pipeline.curve.contract import Kernel, Points
from pipeline.nddfe.decrypt import decrypt
from pipeline.nddfe.keystream import masks
from pipeline.nddfe.mask_sum import chunks
from pipeline.nddfe.packing import Values
from pipeline.protocol.function_key import FunctionKey
from pipeline.protocol.task import Task


@dataclass(frozen=True, kw_only=True)
class Aggregate:
    """One round's sum."""

    #: X for the k coordinates of the support, int64.
    values: Values
    #: Numbers of the groups that are zero because they could not be read.
    dropped: list[int]
    #: M_g, 32 big-endian bytes each: with them anyone can check the sum.
    mask_sums: bytes

    @property
    def encoded(self) -> bytes:
        """X as int64 little-endian: what `aggregateHash` is of and the audit carries."""
        return self.values.astype("<i8").tobytes()


def aggregate(
    task: Task,
    support_size: int,
    submissions: Sequence[Points],
    own_streams: Sequence[bytes],
    key: FunctionKey,
    kernel: Kernel,
) -> Aggregate:
    """Decrypts the sum. `submissions`: U_0 .. U_G each (`check_submission`); `own_streams`: K_agg of each; `key` is checked.

    Works chunk by chunk, so that masks and partial sums stay small whatever the dimension.
    """
    groups, pack = task.groups(support_size), task.quantization.pack
    if len(submissions) != len(own_streams):
        raise ValueError(f"{len(submissions)} submissions, but {len(own_streams)} mask streams")
    if any(len(points) != groups + 1 for points in submissions):
        raise ValueError(f"every submission must have {groups + 1} points")
    values: list[Values] = [np.zeros(0, dtype=np.int64)]
    dropped: list[int] = []
    mask_sums: list[bytes] = []
    for first, count in chunks(groups):
        own = [masks(kernel, stream, first, count) for stream in own_streams]
        M = kernel.add_scalars([kernel.reduce(key.key[32 * first : 32 * (first + count)]), *own])
        coordinates = min(support_size - first * pack, count * pack)
        part, bad = decrypt(kernel, task, coordinates, [points[first : first + count] for points in submissions], M)
        values.append(part)
        dropped += [first + group for group in bad]
        mask_sums.append(bytes_from_words(M))
    return Aggregate(values=np.concatenate(values), dropped=dropped, mask_sums=b"".join(mask_sums))
