"""What a second thread is worth to the curve kernels: the same work on one and on two, by turns, by the clock on the wall."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import work
from bench.measure import Row, skip
from pipeline.curve.contract import Kernel
from pipeline.curve.select import kernel

THREADS = 2
_TURNS = 5


def measured(n: int, folder: Path) -> list[Row]:
    """Encrypt, verify and aggregate; `vs` says how many times slower one thread is. None where there is one core only."""
    if len(os.sched_getaffinity(0)) < THREADS:
        skip(f"{THREADS} threads", "this process may use one core only")
        return []
    alone, together = (kernel("auto", folder, threads) for threads in (1, THREADS))
    numbers = work.values(n)
    ciphertexts = [work.encrypt(alone, work.values(n, seed)) for seed in range(work.MINERS)]
    summed = alone.add_scalars([work.mask_sum(alone, n)] * work.MINERS)
    jobs: dict[str, Callable[[Kernel], Any]] = {
        "encrypt": lambda one: work.encrypt(one, numbers),
        "verify one submission": lambda one: work.verify(one, ciphertexts[0], n),
        f"aggregate {work.MINERS} submissions": lambda one: work.aggregate(one, ciphertexts, n, summed),
    }
    rows = []
    for name, job in jobs.items():
        one, two = _by_turns(lambda job=job: job(alone), lambda job=job: job(together))  # type: ignore[misc]
        rows.append(
            Row(name=f"{name}, {THREADS} threads, {together.name}", n=n, ns=two / n * 1e9, vs={"1 thread": one / two})
        )
    return rows


def _by_turns(*jobs: Callable[[], Any]) -> list[float]:
    """The least seconds of each, after one run to warm up."""
    least = [float("inf")] * len(jobs)
    for turn in range(_TURNS + 1):
        for place, job in enumerate(jobs):
            started = time.perf_counter()
            job()
            if turn:
                least[place] = min(least[place], time.perf_counter() - started)
    return least
