"""How many messages wait in the broker's queues."""

from collections.abc import Iterable, Mapping

import structlog
from kombu.exceptions import OperationalError

from pipeline.stages.contract import Stage
from tasks.app import app

_log = structlog.get_logger(__name__)


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
