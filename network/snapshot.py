"""One look at a fleet: all that page and metrics show, read from ledger and broker at one moment."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.settings import Settings
from pipeline.stores.db.engine import open_database
from pipeline.stores.fleet.records import Refusal, Run, Stage, State, WorkerSeen
from pipeline.stores.fleet.stage_times import StageTimes
from pipeline.stores.fleet.stats import Events, Overview, Speed, Waiting
from pipeline.stores.fleet.witness import Reward, WitnessLedger
from tasks.app import CONTROL, VERIFY
from tasks.queues import queue_depths

#: A miner's pools, in the order in which people read them.
POOLS = (*(stage.value for stage in Stage), CONTROL, VERIFY)
#: How many of each kind are read.
RUNNING, NEWEST, FAILED, TRAINED, REFUSED = 200, 15, 20, 100, 20
#: Several browsers and a scraper look at the same picture.
FRESH_SECONDS = 1.0
#: Messages in each of these queues; None where the broker does not answer.
Depths = Callable[[Iterable[str]], Mapping[str, int] | None]


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A fleet at one moment."""

    #: Unix seconds.
    at: float
    counts: Mapping[tuple[State, Stage | None], int]
    waiting: Mapping[Stage, Waiting]
    times: Mapping[Stage, StageTimes]
    events: Events
    speeds: Mapping[Stage, Speed]
    #: Messages in each pool's queue; None where the broker does not answer.
    messages: Mapping[str, int] | None
    #: Runs that a worker has, and the newest of all; oldest first.
    running: Sequence[Run]
    newest: Sequence[Run]
    failed: Sequence[Run]
    trained: Sequence[Run]
    refusals: Sequence[Refusal]
    workers: Sequence[WorkerSeen]
    rewards: Sequence[Reward]

    def count(self, *states: State, stage: Stage | None = None) -> int:
        """Runs in these states; with a `stage` only those whose due stage it is."""
        return sum(number for (state, due), number in self.counts.items() if state in states and stage in (None, due))


class Observer:
    """Takes snapshots; one that is fresh serves everybody. Safe to use from many threads."""

    def __init__(self, settings: Settings, depths: Depths = queue_depths) -> None:
        self._settings, self._depths = settings, depths
        self._lock = threading.Lock()
        self._books: tuple[Overview, WitnessLedger] | None = None
        self._last: tuple[float, Snapshot] | None = None

    def look(self) -> Snapshot:
        """A snapshot that is at most a second old. Raises Retryable where the ledger is away."""
        with self._lock:
            if self._last is None or time.monotonic() - self._last[0] > FRESH_SECONDS:
                taken = self._take()
                self._last = time.monotonic(), taken
            return self._last[1]

    def close(self) -> None:
        """Gives the ledger's connections back."""
        with self._lock:
            for book in self._books or ():
                book.close()

    def _take(self) -> Snapshot:
        if self._books is None:
            engine = open_database(self._settings.ledger)
            self._books = Overview(engine), WitnessLedger(engine)
        book, witness = self._books
        return Snapshot(
            at=time.time(),
            counts=book.counts(),
            waiting=book.waiting(),
            times=book.stage_times(),
            events=book.events(),
            speeds=book.speeds(),
            messages=self._depths(POOLS),
            running=book.runs(states=[State.RUNNING], limit=RUNNING),
            newest=book.runs(limit=NEWEST),
            failed=book.failed_runs(FAILED),
            trained=book.trained_runs(TRAINED),
            refusals=book.refusals()[:REFUSED],
            workers=book.workers(),
            rewards=witness.rewards(),
        )
