"""The sum of a round (PROTOCOL.md section 7): masks off, logarithm, digits; what does not fit is dropped and named."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.curve.arrays import bytes_from_words
from pipeline.curve.contract import Kernel, Points, Scalars
from pipeline.nddfe.decrypt import decrypt
from pipeline.nddfe.party_streams import aggregator_stream, mask_totals
from pipeline.protocol.encodings import keccak256, to_hex
from pipeline.protocol.signing import SecretKey
from pipeline.protocol.submission import Header
from pipeline.protocol.task import Task


@dataclass(frozen=True, kw_only=True)
class Aggregate:
    """What a round's participants sent, added up."""

    #: X for the k coordinates of the support, int64; 0 in dropped groups.
    sums: NDArray[np.int64]
    #: Numbers of the groups that were dropped.
    dropped: list[int]
    #: M_g, 32 big-endian bytes each.
    mask_sums: bytes

    @property
    def encoded(self) -> bytes:
        """X as int64 little-endian, as the block hashes it."""
        return self.sums.astype("<i8").tobytes()

    @property
    def aggregate_hash(self) -> str:
        """keccak256 of `encoded`."""
        return to_hex(keccak256(self.encoded))


def aggregate(
    task: Task,
    support_size: int,
    headers: Sequence[Header],
    submissions: Sequence[Points],
    key: Scalars,
    aggregator: SecretKey,
    kernel: Kernel,
) -> Aggregate:
    """Adds up n submissions of G (or G + 1) points each; `key` is the publisher's k_g, checked."""
    groups = task.groups(support_size)
    own = mask_totals(kernel, [aggregator_stream(task, aggregator, header) for header in headers], groups)
    totals = kernel.add_scalars([key, own])
    sums, dropped = decrypt(kernel, task, support_size, [points[:groups] for points in submissions], totals)
    return Aggregate(sums=sums, dropped=dropped, mask_sums=bytes_from_words(totals))
