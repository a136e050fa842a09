"""The largest of very many numbers: what a model of 10^8 weights asks of top-k, in time and in memory beyond its input."""

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from bench.compress import peak
from bench.measure import Row, least, skip
from pipeline.learning.compression import wish
from pipeline.protocol.encodings import ceil_ratio, count_bits

N, RATIO = 100_000_000, 0.01
#: A rival sorts pairs of value and place: with less, this row says more of the disk than of it.
LEAST_FREE_BYTES = 4 * 10**9


def measured(n: int) -> list[Row]:
    """One row: float32[n] of which a hundredth is chosen, beside torch.topk and np.partition."""
    name = f"top {RATIO} of {n:,}"
    if psutil.virtual_memory().available < LEAST_FREE_BYTES:
        skip(name, f"less than {LEAST_FREE_BYTES / 10**9:.0f} GB of memory are free")
        return []
    import torch

    numbers = np.random.default_rng(1).standard_normal(n, dtype=np.float32)
    k, tensor = ceil_ratio(RATIO, n), torch.from_numpy(numbers)
    ways: dict[str, Callable[[], Any]] = {
        # |residual + delta| with one array for both: the same order, and no second array in memory.
        "ours": lambda: wish(numbers, numbers, RATIO),
        "torch.topk": lambda: torch.topk(tensor.abs(), k, sorted=False),
        "np.partition": lambda: np.argpartition(np.abs(numbers), n - k)[n - k :],
    }
    _check(wish(numbers, numbers, RATIO), numbers, k)
    seconds = {way: least(work, 1) for way, work in ways.items()}
    # Python's own count knows nothing of torch's memory, the system's nothing of what is reused from the run before.
    peaks = {way: max(peak(work), resident_peak(work)) for way, work in ways.items()}
    ours, most = seconds.pop("ours"), peaks.pop("ours")
    vs = {rival: other / ours for rival, other in seconds.items()}
    return [Row(name=name, n=n, ns=ours / n * 1e9, vs=vs, peak=most, peaks=peaks, input=numbers.nbytes)]


def resident_peak(work: Callable[[], Any]) -> int:
    """Most bytes of resident memory beyond those before it, sampled: also what a library takes without Python's knowing."""
    process, over = psutil.Process(), threading.Event()
    before = most = process.memory_info().rss

    def watch() -> None:
        nonlocal most
        while not over.is_set():
            most = max(most, process.memory_info().rss)
            time.sleep(0.001)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        work()
    finally:
        over.set()
        watching.join()
    return most - before


def _check(bitmap: bytes, numbers: NDArray[np.float32], k: int) -> None:
    """So many are chosen, and none that is left is larger than one of them."""
    chosen = np.unpackbits(np.frombuffer(bitmap, dtype=np.uint8), count=len(numbers), bitorder="little").view(np.bool_)
    sizes = np.abs(numbers)
    if count_bits(bitmap, len(numbers)) != k or sizes[chosen].min() < sizes[~chosen].max():
        raise AssertionError("the chosen coordinates are not the largest")
