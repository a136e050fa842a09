"""From accepted submissions and the function key to the sum of the updates (docs/protocol.md, section 7)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.curve.arrays import bytes_from_words
from pipeline.curve.contract import Kernel
from pipeline.nddfe.ciphertext import Ciphertext
from pipeline.nddfe.decrypt import decrypt
from pipeline.nddfe.keystream import masks
from pipeline.nddfe.mask_sum import chunks
from pipeline.nddfe.packing import Values
from pipeline.protocol.file_bytes import Bytes
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
    submissions: Sequence[Ciphertext],
    own_streams: Sequence[bytes],
    key: FunctionKey,
    kernel: Kernel,
) -> Aggregate:
    """Decrypts the sum. `submissions`: U_0 .. U_G each (`check_submission`); `own_streams`: K_agg of each; `key` is checked."""
    everything = range(task.groups(support_size))
    return aggregate_slice(task, support_size, submissions, own_streams, key.key, kernel, everything)


def aggregate_slice(
    task: Task,
    support_size: int,
    submissions: Sequence[Ciphertext],
    own_streams: Sequence[bytes],
    key: Bytes,
    kernel: Kernel,
    groups: range,
) -> Aggregate:
    """The sum of these groups alone: the coordinates in them, the dropped ones by their numbers in the round, their M_g.

    `key`: all k_g, 32 bytes each. Works chunk by chunk, so that points, masks and partial sums stay small whatever the
    dimension; of ciphertexts and key only the slice's part is read.
    """
    whole, pack = task.groups(support_size), task.quantization.pack
    if len(submissions) != len(own_streams):
        raise ValueError(f"{len(submissions)} submissions, but {len(own_streams)} mask streams")
    if any(len(points) != whole + 1 for points in submissions):
        raise ValueError(f"every submission must have {whole + 1} points")
    values: list[Values] = [np.zeros(0, dtype=np.int64)]
    dropped: list[int] = []
    mask_sums: list[bytes] = []
    for start, count in chunks(len(groups)):
        first = groups.start + start
        own = [masks(kernel, stream, first, count) for stream in own_streams]
        M = kernel.add_scalars([kernel.reduce(bytes(key[32 * first : 32 * (first + count)])), *own])
        coordinates = min(support_size - first * pack, count * pack)
        points = [one.read(kernel, first, count) for one in submissions]
        part, bad = decrypt(kernel, task, coordinates, points, M)
        values.append(part)
        dropped += [first + group for group in bad]
        mask_sums.append(bytes_from_words(M))
    return Aggregate(values=np.concatenate(values), dropped=dropped, mask_sums=b"".join(mask_sums))
