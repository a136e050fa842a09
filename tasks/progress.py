"""A stage's progress, for people: into the ledger (status, demo) and as a Celery event (Flower), at most once a second.

There is no result backend, so `update_state` would go nowhere. Flower shows a `task-progress` event as the task's state
PROGRESS with the event's `result` beside it.
"""

import time
from collections.abc import Mapping
from typing import Any

import celery
from kombu.exceptions import OperationalError

from pipeline.errors import Retryable
from pipeline.stores.fleet.ledger import RunLedger
from pipeline.stores.fleet.records import Claim
from tasks.leases import RenewedLease

INTERVAL_SECONDS = 1.0


class Progress:
    """The `report` of a `Job`. Raises Fenced where the run is somebody else's, so that a long stage stops early."""

    def __init__(self, task: celery.Task, ledger: RunLedger, claim: Claim, lease: RenewedLease) -> None:
        self._task, self._ledger, self._claim, self._lease = task, ledger, claim, lease
        self._next = 0.0

    def __call__(self, progress: Mapping[str, Any]) -> None:
        """Shows it, unless the last one is less than a second old."""
        self._lease.check()
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + INTERVAL_SECONDS
        try:
            self._ledger.report(self._claim, progress)
        except Retryable:
            return  # for people only: a training must not end with a ledger that restarts
        if not self._task.request.called_directly and not self._task.request.is_eager:
            self._send(progress)

    def _send(self, progress: Mapping[str, Any]) -> None:
        text = in_words(progress)
        # Nothing is connected here: it knows what its transport raises, which comes through unmapped where an event is sent.
        away = self._task.app.connection_for_write().recoverable_connection_errors
        try:
            # Without retries: a training must not wait for a broker that restarts, and not fail for it either.
            self._task.send_event("task-progress", retry=False, result=text)
        except (OperationalError, *away):
            return


def in_words(progress: Mapping[str, Any]) -> str:
    """Progress as Flower shows it: `epoch 3 of 5, loss 0.4123, GPU memory 41 %`."""
    words = []
    for name, value in progress.items():
        if name == "gpuMemory":
            words.append(f"GPU memory {value['used'] / value['total']:.0%}")
        elif name == "epoch":
            words.append(f"epoch {value} of {progress.get('epochs', '?')}")
        elif name == "epochs":
            continue
        else:
            words.append(f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}")
    return ", ".join(words)
