"""flfleet.sweep: a new chain for every run that nobody works on. It is what makes a lost message harmless."""

import structlog

from pipeline.errors import Retryable
from pipeline.settings import current
from tasks.app import app
from tasks.chain import start
from tasks.holdings import ledger
from tasks.queues import queue_depths
from tasks.retraining import top_up

#: A message may be on its way so many sweeps long, from a queue into a worker's claim, before it is taken for lost.
IDLE_SWEEPS = 2
_log = structlog.get_logger(__name__)


@app.task(name="flfleet.sweep", ignore_result=True, throws=(Retryable,))
def sweep() -> str:
    """Ends runs whose time is over, takes dead workers' leases back, and sends what is due on its way."""
    due = ledger().due_for_sweep(idle_seconds=IDLE_SWEEPS * current().sweep_seconds, depths=queue_depths())
    for run in due:
        _log.info("run driven again", run=run.run_id, stage=run.stage)
        start(run.run_id, run.stage, run.token, run.label)
    hints = top_up()
    return f"{len(due)} driven again" + (f", {hints} hints to retrain" if hints else "")
