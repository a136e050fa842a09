"""Which coordinates the next round is made of, by the participants' wishes (PROTOCOL.md section 8)."""

from collections.abc import Iterable

import numpy as np

from pipeline.errors import Malformed
from pipeline.nddfe.keystream import words4
from pipeline.protocol.encodings import bitmap_from_indices, ceil_ratio, sha256


def next_support(task_id: str, next_round: int, dimension: int, ratio: float, wishes: Iterable[bytes | None]) -> bytes:
    """The bitmap of the ceil(ratio * d) coordinates with most votes; ties to the smaller keystream word, then the smaller j.

    `next_round`: the round that will use it. Raises Malformed for a wish of another length. Time and memory (16 bytes a
    coordinate) are linear in d.
    """
    votes = np.zeros(dimension, dtype=np.uint32)
    for wish in wishes:
        if wish is None:
            continue
        if len(wish) != (dimension + 7) // 8:
            raise Malformed(f"wish: expected {(dimension + 7) // 8} bytes for {dimension} bits, got {len(wish)}")
        votes += np.unpackbits(np.frombuffer(wish, dtype=np.uint8), count=dimension, bitorder="little")
    name = task_id.encode()
    seed = sha256(b"ndd-fe/1 support" + len(name).to_bytes(2, "big") + name + next_round.to_bytes(8, "big"))
    # One number a coordinate, the smallest of them win: fewer votes weigh more than any word.
    rank = (np.uint32(votes.max()) - votes).astype(np.uint64) << np.uint64(32)
    rank |= words4(seed, 0, dimension)
    size = ceil_ratio(ratio, dimension)
    last = np.partition(rank, size - 1)[size - 1]
    chosen = np.flatnonzero(rank < last)
    tied = np.flatnonzero(rank == last)[: size - len(chosen)]
    return bitmap_from_indices(np.concatenate([chosen, tied]), dimension)
