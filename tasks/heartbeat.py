"""A file that says when a main process last went round its loop: what a liveness probe looks at.

Not the broker: a probe must not restart a fleet because the broker is away. So a process that asks for its broker again and
again is alive, and touches the file too. Only the main process and its main thread do: a child, or a thread beside a loop that
hangs, must not speak for it. `flfleet health live` reads it (cli/health.py).
"""

import os
import threading
import time
from pathlib import Path
from typing import Any

from celery import bootsteps
from celery.beat import PersistentScheduler
from celery.signals import beat_init, worker_init

from pipeline.settings import current
from pipeline.stores.heartbeats import heartbeat_file

#: How often a loop touches its file.
INTERVAL_SECONDS = 5.0


class _Heart:
    """This process's file, once it is known to be a main process."""

    def __init__(self) -> None:
        self._pid = 0
        self._path = Path()
        self._next = 0.0

    def begin(self, role: str) -> None:
        """From now on this process and this thread have a heartbeat."""
        self._pid, self._path, self._next = os.getpid(), heartbeat_file(current().home, role), 0.0
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self.touch()

    def touch(self) -> None:
        """Touches the file, at most once a second."""
        if self._pid != os.getpid() or threading.current_thread() is not threading.main_thread():
            return
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + 1.0
            self._path.touch()


HEART = _Heart()


class Heartbeat(bootsteps.StartStopStep):  # type: ignore[misc, unused-ignore]
    """A timer in the worker's event loop. Of the consumer, which starts anew with every connection and clears all timers."""

    requires = ("celery.worker.consumer.connection:Connection",)

    def start(self, consumer: Any) -> None:
        """Celery calls this once there is a connection."""
        self._timer = consumer.timer.call_repeatedly(INTERVAL_SECONDS, HEART.touch)

    def stop(self, _consumer: Any) -> None:
        """Celery calls this when the connection goes."""
        self._timer.cancel()


class BeatingScheduler(PersistentScheduler):  # type: ignore[misc, unused-ignore]
    """Beat's own scheduler; every tick is a heartbeat."""

    # Without entries that are due beat would sleep for five minutes.
    max_interval = INTERVAL_SECONDS

    def tick(self, *args: Any, **options: Any) -> Any:
        """Sends what is due and returns the seconds until the next tick."""
        HEART.touch()
        return super().tick(*args, **options)


@worker_init.connect
def _worker_begins(**_options: Any) -> None:
    HEART.begin(f"worker-{os.environ.get('FLFLEET_POOL', 'client')}")


@beat_init.connect
def _beat_begins(**_options: Any) -> None:
    HEART.begin("beat")
