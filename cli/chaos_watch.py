"""Watches the ledgers while chaos goes on, and measures how soon after each fault things move again.

A fault that took processes down in the middle of runs is recovered from when every one of those runs has moved: its token
has grown (it was claimed again), its stage has changed, or it is accepted. A fault that hit no run is recovered from when the
next run of each pool that it hit moves. The time counts from the end of the fault (a kill ends at once, an outage when the
server may start again), or from when the pool has work at all, if that is later. Where no work came, nothing is measured. A
broker that is away meanwhile holds everything up: then the time counts from its return, and the log of faults says so.
Seconds are of the monotonic clock, as seen from here: five looks a second.
"""

import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from sqlalchemy import Engine, func, select

from cli.chaos_schedule import Kind
from pipeline.settings import load
from pipeline.stages.contract import Stage
from pipeline.stores.aggregator.rounds import RoundState
from pipeline.stores.aggregator.tables import rounds, submissions
from pipeline.stores.db.engine import open_database, reading
from pipeline.stores.fleet.records import OPEN, State
from pipeline.stores.fleet.tables import runs
from pipeline.stores.publisher.tables import issued_keys, signed_tasks
from tasks.app import AGGREGATE, PUBLISH

STAGE_POOLS = tuple(stage.value for stage in Stage)
_LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class Place:
    """Where a run stands."""

    state: str
    stage: str | None
    token: int
    owner: str | None

    @property
    def pid(self) -> int | None:
        """The process that works on it."""
        return int(self.owner.split("|")[2]) if self.state == State.RUNNING and self.owner else None


@dataclass(frozen=True)
class View:
    """One look at everything."""

    at: float
    runs: Mapping[str, Place]
    #: What the parties' workers have brought about so far; it only grows.
    verdicts: int
    keys: int
    #: Submissions that await their verdict, and rounds that await their sum: the parties' work.
    unjudged: int
    closing: int


@dataclass(kw_only=True)
class Recovery:
    """The wait for one fault's recovery."""

    kind: Kind
    pools: Collection[str]
    #: Where the runs stood that were taken down.
    hit: Mapping[str, Place]
    #: Monotonic seconds of the fault's end.
    since: float
    #: The look before the next one.
    before: View
    seconds: float | None = None
    #: Whether a broker was away meanwhile.
    held_up: bool = False
    moved: dict[str, float] = field(default_factory=dict)
    worked: dict[str, float] = field(default_factory=dict)

    def look(self, view: View) -> None:
        """Takes a later view into account."""
        if self.seconds is not None or view.at < self.since:
            return
        if self.hit:
            if all(view.runs.get(name) != place for name, place in self.hit.items()):
                self.seconds = view.at - self.since
            return
        for pool in self.pools:
            if pool not in self.worked and (has_work(self.before, pool) or has_moved(self.before, view, pool)):
                self.worked[pool] = self.before.at
            if pool in self.worked and pool not in self.moved and has_moved(self.before, view, pool):
                self.moved[pool] = view.at - max(self.since, self.worked[pool])
        self.before = view
        if len(self.moved) == len(self.pools):
            self.seconds = max(self.moved.values(), default=0.0)

    def hold_up(self, now: float) -> None:
        """A broker is back that was away: the waiting begins anew."""
        self.since, self.held_up = max(self.since, now), True

    @property
    def measured(self) -> float | None:
        """The seconds, also of the pools that had work alone; None where none had."""
        return self.seconds if self.seconds is not None else max(self.moved.values(), default=None)


def progress(view: View) -> int:
    """Stages that are behind all runs, and runs that are over: it grows as long as anything goes on."""
    return sum(_position(place) + (place.state not in OPEN) for place in view.runs.values())


def has_work(view: View, pool: str) -> bool:
    """Whether a run is due in the pool; or, in the parties' pools, a submission or a round."""
    if pool == AGGREGATE:
        return view.unjudged + view.closing > 0
    if pool == PUBLISH:
        return view.closing > 0
    return any(place.state in OPEN and place.stage == pool for place in view.runs.values())


def has_moved(before: View, after: View, pool: str) -> bool:
    """Whether anything was claimed or finished in the pool between two looks."""
    if pool == AGGREGATE:
        return after.verdicts > before.verdicts
    if pool == PUBLISH:
        return after.keys > before.keys
    return any(_moved_in(before.runs.get(name), place, pool) for name, place in after.runs.items())


def _moved_in(before: Place | None, after: Place, pool: str) -> bool:
    """Whether a run was claimed in the pool, or came through it; a run that was not there before began at the first stage."""
    if before == after:
        return False
    if after.stage == pool and after.state == State.RUNNING:
        return True
    here = STAGE_POOLS.index(pool)
    return _position(before) <= here < _position(after)


def _position(place: Place | None) -> int:
    """How many stages are behind a run."""
    if place is None:
        return 0
    return len(STAGE_POOLS) if place.stage is None else STAGE_POOLS.index(place.stage)


class Watch:
    """A thread that looks at fleet, aggregator and publisher."""

    def __init__(self, fleet: Engine, aggregator: Engine, publisher: Engine) -> None:
        self._fleet, self._aggregator, self._publisher = fleet, aggregator, publisher
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._recoveries: list[Recovery] = []
        self._view = self.look()
        self._thread = threading.Thread(target=self._watch, name="watch", daemon=True)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._thread.join()
        for engine in (self._fleet, self._aggregator, self._publisher):
            engine.dispose()

    @property
    def view(self) -> View:
        """The latest look."""
        return self._view

    def look(self) -> View:
        """Looks now."""
        with reading(self._fleet) as db:
            rows = db.execute(select(runs.c.run_id, runs.c.state, runs.c.stage, runs.c.token, runs.c.owner)).all()
        with reading(self._aggregator) as db:
            judged = db.execute(select(func.count()).where(submissions.c.state != "pending")).scalar_one()
            unjudged = db.execute(select(func.count()).where(submissions.c.state == "pending")).scalar_one()
            closing = db.execute(select(func.count()).where(rounds.c.state == RoundState.CLOSING)).scalar_one()
            closed = db.execute(select(func.count()).where(rounds.c.block_hash.is_not(None))).scalar_one()
        with reading(self._publisher) as db:
            issued = db.execute(select(func.count()).select_from(issued_keys)).scalar_one()
            signed = db.execute(select(func.count()).select_from(signed_tasks)).scalar_one()
        places = {row.run_id: Place(row.state, row.stage, row.token, row.owner) for row in rows}
        return View(time.monotonic(), places, judged + closed, issued + signed, unjudged, closing)

    def expect(self, kind: Kind, pools: Collection[str], hit: Mapping[str, Place], before: View) -> None:
        """Begins to wait for a fault's recovery: the fault ends now."""
        recovery = Recovery(kind=kind, pools=pools, hit=hit, since=time.monotonic(), before=before)
        with self._lock:
            self._recoveries.append(recovery)

    def broker_is_back(self, pools: Collection[str]) -> None:
        """Whoever of these pools waits, or whose runs do, waited for the broker until now."""
        with self._lock:
            for recovery in self._recoveries:
                if recovery.seconds is None and set(recovery.pools) <= set(pools):
                    recovery.hold_up(time.monotonic())

    def recoveries(self) -> list[Recovery]:
        """All that was waited for."""
        with self._lock:
            return list(self._recoveries)

    def _watch(self) -> None:
        while not self._over.wait(_LOOK_SECONDS):
            self._view = view = self.look()
            with self._lock:
                waiting = [recovery for recovery in self._recoveries if recovery.seconds is None]
            for recovery in waiting:
                recovery.look(view)


def open_watch(fleet_home: object, aggregator_home: object, publisher_home: object) -> Watch:
    """A watch over three homes' ledgers, whose tables are made where no process has made them yet."""
    from pipeline.aggregation.aggregator.context import open_desk
    from pipeline.aggregation.publisher.context import open_publisher_desk
    from pipeline.stores.fleet.ledger import RunLedger

    homes = [load(str(home)) for home in (fleet_home, aggregator_home, publisher_home)]
    for opened in (RunLedger.open(homes[0]), open_desk(homes[1]), open_publisher_desk(homes[2])):
        opened.close()
    return Watch(*(open_database(home.ledger) for home in homes))
