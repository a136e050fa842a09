from pathlib import Path

import pytest
from structlog.testing import capture_logs

from bench import threads


def test_each_work_has_a_row_that_compares_two_threads_with_one(request: pytest.FixtureRequest) -> None:
    rows = threads.measured(20_000, Path(request.config.cache.mkdir("curve")))
    assert [row.name.partition(", 2 threads")[0] for row in rows] == [
        "encrypt",
        "verify one submission",
        "aggregate 5 submissions",
    ]
    assert all(set(row.vs) == {"1 thread"} and row.vs["1 thread"] > 0 for row in rows)


def test_on_one_core_they_are_skipped_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda _pid: {0})
    with capture_logs() as logs:
        assert threads.measured(20_000, tmp_path) == []
    assert logs[0]["event"] == "skipped: 2 threads"
