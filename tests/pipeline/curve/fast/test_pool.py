import threading

import pytest

from pipeline.curve.fast.pool import Pool


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(
    ("count", "pieces"), [(0, []), (5, [(0, 5)]), (10, [(0, 10)]), (21, [(0, 10), (10, 20), (20, 21)])]
)
def test_the_pieces_cover_the_work_once(threads: int, count: int, pieces: list[tuple[int, int]]) -> None:
    done: list[tuple[int, int]] = []
    Pool(threads).run(count, 10, lambda start, stop: done.append((start, stop)))
    assert sorted(done) == pieces


def test_pieces_run_at_the_same_time() -> None:
    together = threading.Barrier(2, timeout=10)
    Pool(2).run(2, 1, lambda start, stop: together.wait())
    assert not together.broken


@pytest.mark.parametrize("threads", [1, 2])
def test_an_error_in_a_piece_reaches_the_caller(threads: int) -> None:
    def job(start: int, stop: int) -> None:
        if start == 1:
            raise KeyError("piece")

    with pytest.raises(KeyError, match="piece"):
        Pool(threads).run(3, 1, job)
