"""The worker's main process keeps its children's leases while they cannot: inside a C call that holds the interpreter.

A child renews its lease in a thread (tasks/leases.py), which stands still with it. The main process is another process: it
knows which child has accepted which message, sees in /proc that the child runs, and lengthens the lease in its name. For a
child that is gone, stopped, or done with its message it does nothing. A stage that hangs for good ends by its time limit.

On the same occasion it says in the ledger that the worker is there, for the fleet page.
"""

import os
import socket
import threading
import time
from typing import Any

import structlog
from celery import bootsteps
from celery.worker import state

from pipeline.errors import Misconfigured, Retryable
from pipeline.settings import current
from pipeline.stores.db.owners import working
from pipeline.stores.fleet.ledger import RunLedger
from pipeline.stores.fleet.records import WorkerSeen
from tasks.devices import devices_in_words
from tasks.names import STAGE_TASKS

#: How often a worker says that it is there, where its leases are longer than three times that.
PRESENCE_SECONDS = 10.0
#: Held while the ledger is open here. A fork waits for it: a child must not inherit a database connection.
_ledger_open = threading.Lock()
_log = structlog.get_logger(__name__)


class LeaseKeeper(bootsteps.StartStopStep):  # type: ignore[misc, unused-ignore]
    """A thread of the worker's main process, from the pool's start to its stop."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, _worker: Any, **_options: Any) -> None:
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, worker: Any) -> None:
        """Celery calls this once the pool is there."""
        if "prefork" not in type(worker.pool).__module__:
            return  # the stages run in this very process: no second one is there to speak for them
        os.register_at_fork(
            before=_ledger_open.acquire, after_in_parent=_ledger_open.release, after_in_child=_ledger_open.release
        )
        self._thread = threading.Thread(target=self._run, args=(worker,), name="lease keeper", daemon=True)
        self._thread.start()

    def stop(self, _worker: Any) -> None:
        """Celery calls this before the pool goes."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self, worker: Any) -> None:
        settings, ledger = current(), None
        # Another party's worker has nothing to keep, and its ledger holds no runs.
        if "miner" not in settings.roles:
            return
        before: set[str] = set()
        started = time.time()
        while True:
            now = active_stages()
            # A stage that was not there a third of a lease ago has more than two thirds left.
            work = [found for request, found in now.items() if request in before]
            before = set(now)
            with _ledger_open:
                try:
                    ledger = ledger or RunLedger.open(settings)
                    ledger.say_present(described(worker, started))
                    for run_id, owner in work:
                        if ledger.keep(run_id, owner):
                            _log.info("lease kept", run=run_id)
                except (Retryable, Misconfigured) as error:
                    _log.warning("leases not kept", reason=str(error))
                finally:
                    if ledger is not None:
                        ledger.close()
            if self._over.wait(min(settings.lease_seconds / 3, PRESENCE_SECONDS)):
                return


def described(worker: Any, started_at: float) -> WorkerSeen:
    """A worker's main process in words for people: where it is, on what it computes."""
    pool = os.environ.get("FLFLEET_POOL", "client")
    return WorkerSeen(
        name=str(worker.hostname),
        pool=pool,
        host=socket.gethostname(),
        pid=os.getpid(),
        processes=int(worker.concurrency),
        devices=devices_in_words(pool),
        started_at=started_at,
        seen_at=time.time(),
    )


def active_stages() -> dict[str, tuple[str, str]]:
    """(run, owner) of the stages at which running children of this worker are, by the id of their message."""
    found: dict[str, tuple[str, str]] = {}
    for request in _active():
        if request.name in STAGE_TASKS and request.worker_pid and (owner := working(request.worker_pid)) is not None:
            found[request.id] = (str(request.args[0]), owner)
    return found


def _active() -> list[Any]:
    """The messages that children have accepted and not ended. The main thread changes the set meanwhile."""
    while True:
        try:
            return list(state.active_requests)
        except RuntimeError:  # it changed size
            continue
