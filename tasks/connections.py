"""Connections to the broker: how soon a worker, or beat, asks again for one that is away, and what a message costs.

Celery hands no setting through to kombu's waits: they grow by 2 s with every refusal, to 30, so that after an outage of 40 s a
worker comes back up to 14 s late. Asking costs a refused connection on the local network, so we ask every other second.

kombu makes a new client object for every message that is sent, noted or acknowledged: a sixth of what a worker's main process
does. They share one pool of connections, so one object does.
"""

from collections.abc import Callable
from typing import Any

from celery.app.amqp import AMQP
from kombu import Connection
from kombu.transport import redis

from tasks.heartbeat import HEART

FIRST_SECONDS, STEP_SECONDS, LONGEST_SECONDS = 0.5, 0.5, 2.0


class KeptClientChannel(redis.Channel):
    """kombu's channel with one client for its pool. Redis clients may be used from several threads."""

    _kept: Any = None

    def _create_client(self, asynchronous: bool = False) -> Any:
        if asynchronous:
            return super()._create_client(asynchronous=True)
        # After an error kombu throws the pool away, and with it the connections that the client would use.
        if self._kept is None or self._kept.connection_pool is not self.pool:
            self._kept = super()._create_client()
        return self._kept


class KeptClientTransport(redis.Transport):
    """kombu's transport over such channels."""

    Channel = KeptClientChannel


class EagerConnection(Connection):
    """kombu's connection with shorter waits between its attempts; who names waits of his own keeps them."""

    def get_transport_cls(self) -> Any:
        """The transport that the URL names; on Redis the one above."""
        found = super().get_transport_cls()
        return KeptClientTransport if found is redis.Transport else found

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
