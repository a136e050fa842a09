"""The half of a submission's masks that a publisher or an aggregator computes from its own secret key and E."""

from collections.abc import Sequence

import numpy as np

from pipeline.curve.contract import Kernel, Scalars
from pipeline.nddfe.context import context_of, stream_key
from pipeline.nddfe.keystream import masks
from pipeline.nddfe.mask_sum import chunks
from pipeline.protocol.signing import SecretKey
from pipeline.protocol.submission import Header
from pipeline.protocol.task import Task


def publisher_stream(task: Task, publisher: SecretKey, header: Header) -> bytes:
    """K_tp of a submission, from sk_TP."""
    context = context_of(task, header.miner_key, header.mask_key)
    return stream_key("tp", publisher.shared_point33(header.mask_key), context)


def aggregator_stream(task: Task, aggregator: SecretKey, header: Header) -> bytes:
    """K_agg of a submission, from sk_A."""
    context = context_of(task, header.miner_key, header.mask_key)
    return stream_key("agg", aggregator.shared_point33(header.mask_key), context)


def mask_totals(kernel: Kernel, streams: Sequence[bytes], groups: int) -> Scalars:
    """The sums over streams of their masks, uint64[G, 4]: the function key k_g, or the aggregator's own half of M_g."""
    parts = []
    for first, count in chunks(groups):
        total = masks(kernel, streams[0], first, count)
        for stream in streams[1:]:
            total = kernel.add_scalars([total, masks(kernel, stream, first, count)])
        parts.append(total)
    return np.concatenate(parts)
