"""How fast, and in how much memory, an update is compressed and the next support is voted for, beside plain numpy."""

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.measure import Row, least
from pipeline.aggregation.support import next_support
from pipeline.learning.compression import Compressed, compress, wish
from pipeline.nddfe.keystream import words4
from pipeline.protocol.encodings import bitmap_from_indices, ceil_ratio, sha256

RATIO = 0.1
SCALE, CLIP = 50, 0.06
MINERS = 5


def naive_wish(residual: NDArray[np.float32], delta: NDArray[np.float32], ratio: float) -> bytes:
    """The definition in plain numpy, over whole copies."""
    expected = np.abs(residual + delta)
    most = ceil_ratio(ratio, len(delta))
    if most >= len(expected):
        return bitmap_from_indices(np.flatnonzero(expected), len(delta))
    last = np.partition(expected, len(expected) - most)[len(expected) - most]
    above = np.flatnonzero(expected > last)
    level = np.flatnonzero((expected == last) & (expected > 0))[: most - len(above)]
    return bitmap_from_indices(np.concatenate([above, level]), len(delta))


def naive_compress(
    delta: NDArray[np.float32],
    residual: NDArray[np.float32] | None,
    support: NDArray[np.int64] | None,
    *,
    scale: int,
    clip: float,
) -> Compressed:
    """The same."""
    v = np.array(delta, dtype=np.float32) if residual is None else delta + residual
    chosen = (v if support is None else v[support]).astype(np.float64)
    x = np.rint(np.clip(chosen, -clip, clip) * scale)
    v[slice(None) if support is None else support] = (chosen - x / scale).astype(np.float32)
    return Compressed(values=x.astype(np.int32), residual=v)


def naive_support(task_id: str, next_round: int, dimension: int, ratio: float, wishes: list[bytes]) -> bytes:
    """The same, with one 64-bit rank a coordinate."""
    votes = np.zeros(dimension, dtype=np.uint32)
    for one in wishes:
        votes += np.unpackbits(np.frombuffer(one, dtype=np.uint8), count=dimension, bitorder="little")
    name = task_id.encode()
    seed = sha256(b"ndd-fe/1 support" + len(name).to_bytes(2, "big") + name + next_round.to_bytes(8, "big"))
    rank = (np.uint32(votes.max()) - votes).astype(np.uint64) << np.uint64(32)
    rank |= words4(seed, 0, dimension)
    size = ceil_ratio(ratio, dimension)
    last = np.partition(rank, size - 1)[size - 1]
    chosen = np.flatnonzero(rank < last)
    tied = np.flatnonzero(rank == last)[: size - len(chosen)]
    return bitmap_from_indices(np.concatenate([chosen, tied]), dimension)


def measured(n: int) -> list[Row]:
    """Rows of n coordinates; `peak` is what a call allocates beyond its inputs, results included."""
    random = np.random.default_rng(1)
    delta, residual = (random.normal(0, 0.02, n).astype(np.float32) for _ in range(2))
    support = np.sort(random.choice(n, ceil_ratio(RATIO, n), replace=False)).astype(np.int64)
    wishes = [wish(residual, random.permutation(delta), RATIO) for _ in range(MINERS)]

    def row(name: str, ours: Callable[[], Any], naive: Callable[[], Any]) -> Row:
        ns = least(ours, 2) / n * 1e9
        return Row(
            name=name,
            n=n,
            ns=ns,
            vs={"numpy": least(naive, 1) / n * 1e9 / ns},
            peak=peak(ours),
            peaks={"numpy": peak(naive)},
        )

    return [
        row(
            "compress, ratio 0.1",
            lambda: compress(delta, residual, support, scale=SCALE, clip=CLIP),
            lambda: naive_compress(delta, residual, support, scale=SCALE, clip=CLIP),
        ),
        row(
            "compress, all coordinates",
            lambda: compress(delta, residual, None, scale=SCALE, clip=CLIP),
            lambda: naive_compress(delta, residual, None, scale=SCALE, clip=CLIP),
        ),
        row("wish, top 0.1", lambda: wish(residual, delta, RATIO), lambda: naive_wish(residual, delta, RATIO)),
        row(
            f"next support, {MINERS} wishes",
            lambda: next_support("task", 2, n, RATIO, wishes),
            lambda: naive_support("task", 2, n, RATIO, wishes),
        ),
    ]


def peak(work: Callable[[], Any]) -> int:
    """Most bytes that were allocated at once while it worked (numpy's arrays are counted, memory maps are not)."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
