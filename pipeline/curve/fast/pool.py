"""Threads of one process, for kernels that let go of the interpreter's lock.

Made in the process that works, at its first job: Celery forks its workers, and a forked pool has no threads. Not numba's own
parallel loops: its OpenMP layer kills a forked child, its work queue aborts when called from two threads.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from pipeline.errors import Misconfigured

#: Works on the items from start to stop.
Job = Callable[[int, int], None]


class Pool:
    """Cuts work into chunks for `threads` threads; with one thread the caller's own does it."""

    def __init__(self, threads: int) -> None:
        if threads < 1:
            raise Misconfigured(f"a curve kernel works with at least 1 thread, not {threads}")
        self._threads = threads
        self._executor: ThreadPoolExecutor | None = None
        self._owner = 0

    def run(self, count: int, chunk: int, job: Job) -> None:
        """job(start, stop) over 0 .. count in pieces of at most `chunk`; an exception of a piece is raised here."""
        pieces = list(_pieces(count, chunk))
        if self._threads == 1 or len(pieces) == 1:
            for start, stop in pieces:
                job(start, stop)
            return
        for _ in self._threads_of_this_process().map(lambda piece: job(*piece), pieces):
            pass

    def _threads_of_this_process(self) -> ThreadPoolExecutor:
        if self._executor is None or self._owner != os.getpid():
            self._owner = os.getpid()
            self._executor = ThreadPoolExecutor(self._threads, thread_name_prefix="curve")
        return self._executor


def _pieces(count: int, chunk: int) -> Iterator[tuple[int, int]]:
    for start in range(0, count, chunk):
        yield start, min(start + chunk, count)
