"""Workers of the other parties as real processes that die by SIGKILL at a given write to their ledger."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# Its children start in no time, and without this process's threads.
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(
    [f"pipeline.aggregation.{name}" for name in ("closing", "desk", "evaluate", "issuing", "publisher_desk")]
)
_ROOT = Path(__file__).parents[1]


def run(work: Callable[..., None], home: Path, *arguments: Any) -> int:
    """Does the work in a process of its own, at home. Returns its exit code: -9 for one that was killed."""
    process = _processes.Process(target=_at_home, args=(work, home, *arguments))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(_ROOT))  # the server that they fork from starts with the first one
        process.start()
    process.join(60)
    assert process.exitcode is not None, "it hangs"
    return process.exitcode


def close_round(task_id: str, number: int, name: str | None, *, before: bool) -> None:
    """Closes a round; dies at the write that says `name`, `before` or right after it is on the disk."""
    from pipeline.aggregation.aggregator import closing
    from pipeline.aggregation.aggregator.context import open_desk
    from pipeline.settings import load
    from pipeline.stores.aggregator.rounds import RoundLedger

    _dying(RoundLedger, "advance", lambda values: name in values, before)
    _dying(RoundLedger, "store_request", lambda _values: name == "request_hash", before)
    closing.close_round(open_desk(load()), task_id, number)


def issue_key(request_hash: str, *, before: bool) -> None:
    """Issues a key; dies before or right after it is on the disk."""
    from pipeline.aggregation.publisher import issuing
    from pipeline.aggregation.publisher.context import open_publisher_desk
    from pipeline.settings import load
    from pipeline.stores.publisher.issued_keys import IssuedLedger

    _dying(IssuedLedger, "issue", lambda _values: True, before)
    issuing.issue(open_publisher_desk(load()), request_hash)


def verify(number: int, *, before: bool) -> None:
    """Verifies a submission; dies before or right after its acceptance is on the disk."""
    from pipeline.aggregation.aggregator import verification
    from pipeline.aggregation.aggregator.context import open_desk
    from pipeline.settings import load
    from pipeline.stores.aggregator.submissions import SubmissionLedger

    _dying(SubmissionLedger, "accept", lambda _values: True, before)
    verification.verify(open_desk(load()), number)


def _at_home(work: Callable[..., None], home: Path, *arguments: Any) -> None:
    os.environ["FLFLEET_HOME"] = str(home)
    *positional, before = arguments
    work(*positional, before=before)


def _dying(ledger: type, method: str, hits: Callable[[dict[str, Any]], bool], before: bool) -> None:
    write = getattr(ledger, method)

    def dying(self: Any, *arguments: Any, **values: Any) -> Any:
        hit = hits(values)
        if hit and before:
            os.kill(os.getpid(), signal.SIGKILL)
        result = write(self, *arguments, **values)
        if hit:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(ledger, method, dying)


def miner_compresses(run_id: str, settings: dict[str, str], *, before: bool) -> None:
    """Stage compress as a worker does it; dies with its artifacts written, `before` or right after the ledger names them."""
    os.environ.update(settings)
    import tasks.stages  # noqa: F401
    from pipeline.stores.fleet.ledger import RunLedger
    from tasks.app import app

    _dying(RunLedger, "commit", lambda _values: True, before)
    app.tasks["flfleet.compress"].apply((run_id,))
