"""flfleet.verify: the second chain. Blocks of rounds in which our identities took part: check, vote, reveal, be paid."""

import os
import time
from collections import defaultdict
from functools import lru_cache

import structlog

from pipeline.aggregation.miner.watching import Sent, Watcher, watch
from pipeline.curve.contract import Kernel
from pipeline.curve.select import kernel
from pipeline.errors import FleetError, Misconfigured, Rejected, Retryable
from pipeline.settings import current
from pipeline.stores.db.engine import open_database
from pipeline.stores.fleet.records import Run, State
from pipeline.stores.fleet.witness import WitnessLedger
from tasks.app import app
from tasks.holdings import artifacts, ledger, miners, used_key

#: Newest runs that are looked at: rounds beyond these are long over.
MOST_RUNS = 1000
_log = structlog.get_logger(__name__)


@app.task(name="flfleet.verify", ignore_result=True, throws=(Retryable, Rejected, Misconfigured))
def verify() -> str:
    """Takes every round that is not ended one step on. One that fails waits for the next look, and holds no other up."""
    watcher = _watcher(os.getpid())
    over = watcher.book.ended()
    by_task: defaultdict[str, list[Run]] = defaultdict(list)
    for run in ledger().runs(states={State.ACCEPTED}, limit=MOST_RUNS):
        if run.task_hash not in over:
            by_task[run.task_hash].append(run)
    for task_hash, runs in by_task.items():
        try:
            with watcher.book.watching(task_hash) as ours:
                word = "another worker is at it"
                if ours:
                    word = watch(watcher, ledger().task(task_hash), _sent(runs), time.time())
        except FleetError as error:
            word = f"waits: {error}"
        _log.info("round watched", task=runs[0].task_id, round=runs[0].round, word=word)
    return f"{len(by_task)} rounds watched"


def _sent(runs: list[Run]) -> list[Sent]:
    own = miners()
    return [
        Sent(
            identity=own[run.miner],
            submission_hash=run.figures["submissionHash"],
            opening=run.artifacts["opening"],
        )
        for run in runs
        if run.miner in own
    ]


@lru_cache(maxsize=1)
def _watcher(_pid: int) -> Watcher:
    settings = current()

    def own_kernel() -> Kernel:
        return kernel(settings.curve_kernel, settings.cache)

    return Watcher(
        settings=settings,
        book=WitnessLedger(open_database(settings.ledger), lease_seconds=settings.lease_seconds),
        artifacts=artifacts(),
        kernel=own_kernel,
        key=lambda address: used_key(address, "vote or reveal"),
    )
