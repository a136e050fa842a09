import coincurve
import numpy as np

from pipeline.curve.fast.bases import Bases, best_windows
from pipeline.curve.fast.kernel import BatchKernel


def base(k: int) -> bytes:
    return coincurve.PrivateKey.from_int(k).public_key.format()


def test_windows_grow_with_the_job() -> None:
    counts = [best_windows(count).count for count in (1, 100, 10_000, 1_000_000)]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == 15
    assert best_windows(1).entries < 1000


def test_tables_are_kept_until_a_base_is_asked_for_more(kernel: BatchKernel) -> None:
    bases = Bases(kernel._adder)
    small = bases.tables(base(5), 10)
    assert bases.tables(base(5), 1) is small
    large = bases.tables(base(5), 5_000)
    assert large.windows.count < small.windows.count
    assert bases.tables(base(5), 10) is large


def test_the_least_recently_used_tables_go_when_memory_is_short(kernel: BatchKernel) -> None:
    bases = Bases(kernel._adder, memory=Bases(kernel._adder).tables(base(1), 10).nbytes * 2)
    kept = [bases.tables(base(k), 10) for k in (1, 2)]
    assert bases.tables(base(1), 1) is kept[0]
    bases.tables(base(3), 10)
    assert bases.tables(base(1), 1) is kept[0]
    assert bases.tables(base(2), 1) is not kept[1]


def test_many_small_jobs_end_with_large_tables(kernel: BatchKernel) -> None:
    bases = Bases(kernel._adder)
    for _ in range(50):
        tables = bases.tables(base(9), 200)
    assert tables.windows.count <= best_windows(10_000).count + 1
    assert np.isfinite(tables.nbytes)
