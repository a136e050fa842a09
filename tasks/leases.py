"""While a stage works, a thread renews its lease and learns when the run is somebody else's."""

import threading
from types import TracebackType

import structlog

from pipeline.errors import Retryable
from pipeline.stores.records import Claim, Fenced
from pipeline.stores.runs import RunLedger

_log = structlog.get_logger(__name__)


class RenewedLease:
    """A context in which the claim's lease is renewed every third of its length.

    The thread runs while the stage is inside a long C call too, as long as that lets go of the interpreter (torch, numpy,
    numba's nogil kernels and hashlib do). For calls that don't, the worker's main process keeps the lease (tasks/keeper.py).
    """

    def __init__(self, ledger: RunLedger, claim: Claim) -> None:
        self._ledger, self._claim = ledger, claim
        self._over = threading.Event()
        self._fenced: Fenced | None = None
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)

    def check(self) -> None:
        """Raises Fenced once a renewal was refused: whatever the stage still does is for nothing."""
        if self._fenced is not None:
            raise self._fenced

    def __enter__(self) -> "RenewedLease":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _renew(self) -> None:
        while not self._over.wait(self._ledger.lease_seconds / 3):
            try:
                self._ledger.renew(self._claim)
            except Fenced as error:
                self._fenced = error
                return
            except Retryable as error:
                _log.warning("lease not renewed", reason=str(error))
