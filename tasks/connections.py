"""How soon a worker, or beat, asks again for a broker that is away.

Celery hands no setting through to kombu's waits: they grow by 2 s with every refusal, to 30, so that after an outage of 40 s a
worker comes back up to 14 s late. Asking costs a refused connection on the local network, so we ask every other second.
"""

from collections.abc import Callable
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
        named = dict(list(waits.items())[max(len(args) - 2, 0) :])
        return super()._ensure_connection(*args, **{**named, **options, "callback": _alive(options.get("callback"))})


def _alive(callback: Callable[[], Any] | None) -> Callable[[], None]:
    """What kombu calls at every attempt: who asks for its broker again is alive."""

    def attempted() -> None:
        HEART.touch()
        if callback is not None:
            callback()

    return attempted


class EagerAMQP(AMQP):
    """Celery's part of the app that makes its connections."""

    Connection = EagerConnection
