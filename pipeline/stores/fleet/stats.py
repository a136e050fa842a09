"""The ledger of runs as an operator sees it: counts, times, figures and the newest of each kind. It only reads.

Everything comes from the ledger, so it is the same whichever process asks, and a restart forgets nothing.
"""

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from sqlalchemy import func, select

from pipeline.stores.fleet.ledger import RunLedger
from pipeline.stores.fleet.records import Run, Stage, State
from pipeline.stores.fleet.stage_times import SettledTimes, StageTimes
from pipeline.stores.fleet.tables import outputs, runs, tallies
from pipeline.stores.fleet.tallies import FAILURE, LEASE_LOST, REDRIVEN

#: Runs that ended without a submission.
FAILED = (State.DEAD, State.REJECTED, State.EXPIRED, State.DROPPED)
#: Speeds are those of the stages that ended in the last quarter of an hour, at most so many of them.
SPEED_SECONDS, SPEED_ROWS = 900.0, 2000
_COORDINATES = {Stage.COMPRESS: "coordinates", Stage.ENCRYPT: "coordinates"}
_BYTES = {Stage.FETCH: "modelBytes", Stage.ENCRYPT: "ciphertextBytes", Stage.SUBMIT: "payloadBytes"}


@dataclass(frozen=True, kw_only=True)
class Speed:
    """What a stage does in a second of its own time."""

    coordinates: float | None = None
    bytes: float | None = None


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """What waits for a worker of one pool."""

    count: int
    #: Unix seconds since which the first of them waits.
    since: float


@dataclass(frozen=True, kw_only=True)
class Events:
    """What went other than planned since the ledger was made: (stage, detail) to how often."""

    failures: Mapping[tuple[str, str], int] = field(default_factory=dict)
    leases_lost: Mapping[tuple[str, str], int] = field(default_factory=dict)
    redriven: Mapping[tuple[str, str], int] = field(default_factory=dict)


class Overview(RunLedger):
    """What the fleet page and /metrics ask of the ledger."""

    def waiting(self) -> dict[Stage, Waiting]:
        """Queued runs by the stage that is due."""
        chosen = select(runs.c.stage, func.count(), func.min(runs.c.updated_at)).where(runs.c.state == State.QUEUED)
        with self._reading() as db:
            rows = db.execute(chosen.group_by(runs.c.stage)).all()
        return {Stage(stage): Waiting(count=count, since=since) for stage, count, since in rows}

    def stage_times(self) -> dict[Stage, StageTimes]:
        """Every commit of each stage, those included whose result was replaced later: the numbers only grow."""
        with self._reading() as db:
            return self._times.look(db)

    @cached_property
    def _times(self) -> SettledTimes:
        return SettledTimes()

    def events(self) -> Events:
        """Failures, lost leases and re-driven runs."""
        found: dict[str, dict[tuple[str, str], int]] = {FAILURE: {}, LEASE_LOST: {}, REDRIVEN: {}}
        with self._reading() as db:
            for row in db.execute(select(tallies).where(tallies.c.event.in_(found))):
                found[row.event][row.stage, row.detail] = row._mapping["count"]
        return Events(failures=found[FAILURE], leases_lost=found[LEASE_LOST], redriven=found[REDRIVEN])

    def speeds(self) -> dict[Stage, Speed]:
        """Coordinates and bytes per second of the stages that ended lately."""
        stages = sorted({*_COORDINATES, *_BYTES})
        chosen = (
            select(outputs.c.run_id, outputs.c.stage, outputs.c.seconds, outputs.c.figures)
            .where(outputs.c.finished_at >= time.time() - SPEED_SECONDS, outputs.c.stage.in_(stages))
            .order_by(outputs.c.finished_at.desc())
            .limit(SPEED_ROWS)
        )
        with self._reading() as db:
            rows = db.execute(chosen).all()
        # What encrypt worked on is what the same run's compress made.
        sizes = {row.run_id: row.figures.get("coordinates") for row in rows if row.stage == Stage.COMPRESS}
        made: defaultdict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
        for row in rows:
            count = sizes.get(row.run_id) if row.stage in _COORDINATES else None
            size = row.figures.get(_BYTES.get(Stage(row.stage), ""))
            for unit, amount in (("coordinates", count), ("bytes", size)):
                if amount is not None:
                    made[row.stage, unit].append((float(amount), row.seconds))
        return {
            stage: Speed(coordinates=_speed(made[stage, "coordinates"]), bytes=_speed(made[stage, "bytes"]))
            for stage in Stage
            if made[stage, "coordinates"] or made[stage, "bytes"]
        }

    def failed_runs(self, limit: int) -> list[Run]:
        """The runs that failed last, newest first: dead, rejected, expired, dropped, or at work again after a failure."""
        order = (runs.c.updated_at.desc(),)
        failed = runs.c.state.in_(FAILED) | (runs.c.error.is_not(None) & (runs.c.state != State.ACCEPTED))
        return self._runs(failed, order=order, limit=limit)[::-1]

    def trained_runs(self, limit: int) -> list[Run]:
        """The runs whose training ended last, oldest first, with what it wrote down of each epoch."""
        newest = (
            select(outputs.c.run_id)
            .where(outputs.c.stage == Stage.TRAIN, ~outputs.c.damaged)
            .order_by(outputs.c.finished_at.desc())
            .limit(limit)
        )
        with self._reading() as db:
            ids = list(db.execute(newest).scalars())
        found = {run.run_id: run for run in self._runs(runs.c.run_id.in_(ids))} if ids else {}
        return [found[run_id] for run_id in reversed(ids) if run_id in found]


def _speed(made: Sequence[tuple[float, float]]) -> float | None:
    seconds = sum(spent for _, spent in made)
    return sum(amount for amount, _ in made) / seconds if seconds > 0 else None


def epochs_of(run: Run) -> Iterator[Mapping[str, float]]:
    """What a finished training wrote down of each epoch: loss, heldLoss, heldAccuracy, seconds."""
    metrics = run.figures.get("metrics")
    for epoch in metrics if isinstance(metrics, list) else []:
        if isinstance(epoch, dict):
            yield epoch
