"""How soon a worker, or beat, asks again for a broker that is away.

Celery hands no setting through to kombu's waits: they grow by 2 s with every refusal, to 30, so that after an outage of 40 s a
worker comes back up to 14 s late. Asking costs a refused connection on the local network, so we ask every other second.
"""

from typing import Any

from celery.app.amqp import AMQP
from kombu import Connection

from tasks.heartbeat import HEART

FIRST_SECONDS, STEP_SECONDS, LONGEST_SECONDS = 0.5, 0.5, 2.0


class EagerConnection(Connection):
    """kombu's connection with shorter waits between its attempts; who names waits of his own keeps them."""

    def _ensure_connection(self, *args: Any, **options: Any) -> Any:
        waits = {"interval_start": FIRST_SECONDS, "interval_step": STEP_SECONDS, "interval_max": LONGEST_SECONDS}
        # kombu's own order is errback, max_retries, then these three.
        named: dict[str, Any] = dict(list(waits.items())[max(len(args) - 2, 0) :])
        if len(args) < 6 and options.get("callback") is None:
            # kombu calls it at every attempt: who asks for its broker again is alive.
            named["callback"] = HEART.touch
            options.pop("callback", None)
        return super()._ensure_connection(*args, **{**named, **options})


class EagerAMQP(AMQP):
    """Celery's part of the app that makes its connections."""

    Connection = EagerConnection
