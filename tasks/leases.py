"""While a stage works, a thread renews its lease and learns when the run is somebody else's.

One thread a process renews whatever is at work there. A thread of its own for every stage would cost more than most stages: to
start and to join one takes ten milliseconds on a machine whose cores are busy.
"""

import os
import threading
import time
from collections.abc import Callable
from functools import lru_cache
from types import TracebackType

import structlog

from pipeline.errors import Retryable
from pipeline.stores.fleet.ledger import RunLedger
from pipeline.stores.fleet.records import Claim, Fenced

_log = structlog.get_logger(__name__)


class RenewedLease:
    """A context in which the claim's lease is renewed every third of its length.

    The thread runs while the stage is inside a long C call too, as long as that lets go of the interpreter (torch, numpy,
    numba's nogil kernels and hashlib do). For calls that don't, the worker's main process keeps the lease (tasks/keeper.py).
    """

    def __init__(self, ledger: RunLedger, claim: Claim) -> None:
        self._set(lambda: ledger.renew(claim), ledger.lease_seconds, claim.run_id)

    @classmethod
    def by(cls, renew: Callable[[], None], seconds: float, name: str) -> "RenewedLease":
        """A lease of `seconds` that `renew` lengthens, raising Fenced once it is lost; `name` is for the logs."""
        lease = cls.__new__(cls)
        lease._set(renew, seconds, name)
        return lease

    def _set(self, renew: Callable[[], None], seconds: float, name: str) -> None:
        self._renew, self._seconds, self._name = renew, seconds, name
        self._over = False
        self._fenced: Fenced | None = None

    def check(self) -> None:
        """Raises Fenced once a renewal was refused: whatever the stage still does is for nothing."""
        if self._fenced is not None:
            raise self._fenced

    @property
    def is_lost(self) -> bool:
        """Whether a renewal was refused."""
        return self._fenced is not None

    def renew(self) -> None:
        """Lengthens the lease once, unless it is lost or over already."""
        if self._over or self._fenced is not None:
            return
        try:
            self._renew()
        except Fenced as error:
            # Where the stage has ended meanwhile, its commit has moved the run on; nobody asks any more.
            self._fenced = error
        except Retryable as error:
            _log.warning("lease not renewed", run=self._name, reason=str(error))

    def __enter__(self) -> "RenewedLease":
        self._keeper().add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over = True
        self._keeper().remove(self)

    def _keeper(self) -> "_Keeper":
        return _keeper(os.getpid(), self._seconds / 3)


class _Keeper:
    """The thread of one process. It wakes by the clock alone: whoever comes or goes wakes and waits for nobody."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._leases: set[RenewedLease] = set()
        threading.Thread(target=self._keep, name="leases", daemon=True).start()

    def add(self, lease: RenewedLease) -> None:
        """From now on it is renewed: for the first time within the interval."""
        with self._lock:
            self._leases.add(lease)

    def remove(self, lease: RenewedLease) -> None:
        """It is over. A renewal that is on its way does no harm: it is refused, or lengthens what is given back at once."""
        with self._lock:
            self._leases.discard(lease)

    def _keep(self) -> None:
        while True:
            time.sleep(self._seconds)
            with self._lock:
                leases = list(self._leases)
            for lease in leases:
                lease.renew()


@lru_cache(maxsize=8)
def _keeper(_pid: int, seconds: float) -> _Keeper:  # by process: threads do not survive a fork
    return _Keeper(seconds)
