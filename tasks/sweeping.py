"""flfleet.sweep: a new chain for every run that nobody works on. It is what makes a lost message harmless."""

from collections.abc import Iterable, Mapping

import structlog
from kombu.exceptions import OperationalError

from pipeline.errors import Retryable
from pipeline.settings import current
from pipeline.stages.contract import Stage
from tasks.app import app
from tasks.chain import start
from tasks.holdings import ledger
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


def queue_depths(queues: Iterable[str] = tuple(Stage)) -> Mapping[str, int] | None:
    """Messages that wait in each queue; None where the broker does not answer."""
    connection = app.connection_for_read()
    try:
        with connection, connection.channel() as channel:
            # Declaring a queue that is there changes nothing, and answers with its length.
            return {
                str(queue): channel.queue_declare(queue=str(queue), durable=True, auto_delete=False).message_count
                for queue in queues
            }
    except (OperationalError, *connection.recoverable_connection_errors) as error:
        _log.warning("queues not counted", reason=str(error))
        return None
