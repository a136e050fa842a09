"""What a person stopped on purpose, in the ledger, so that every host sees it: a pool, a data set, the whole fleet, a task.

A claim looks here in its own transaction: once a pause is written, no stage begins under it.
"""

import time
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, exists, func, or_, select

from pipeline.stores.fleet.audit import AuditLog
from pipeline.stores.fleet.records import Stage, State
from pipeline.stores.fleet.tables import controls, retrainings, runs

#: The name of a control over everything.
EVERYTHING = "*"


class Kind(StrEnum):
    """What is stopped."""

    #: One stage's workers, by the stage's name.
    POOL = "pool"
    DATASET = "dataset"
    #: Every pool: only running stages go on.
    FLEET = "fleet"
    #: No more rounds of it; for good, until it is taken back.
    TASK = "task"


@dataclass(frozen=True, kw_only=True)
class Control:
    """One thing that is stopped."""

    kind: Kind
    name: str
    reason: str
    by: str
    #: Unix seconds.
    at: float


class Controls(AuditLog):
    """Pausing, resuming, leaving."""

    def stop(self, kind: Kind, name: str, *, by: str, reason: str = "") -> bool:
        """Stops it from now on. Returns whether it was not stopped before."""
        row = {"kind": kind, "name": name, "reason": reason, "by": by, "at": time.time()}
        with self._transaction(durable=True) as db:
            made = db.execute(
                self._insert(controls).values(row).on_conflict_do_nothing().returning(controls.c.name)
            ).scalar_one_or_none()
            if made is not None:
                self._record(db, f"{kind} stopped", what=name, by=by, reason=reason)
        return made is not None

    def resume(self, kind: Kind, name: str, *, by: str) -> bool:
        """Lets it go on. Returns whether it was stopped."""
        with self._transaction(durable=True) as db:
            which = (controls.c.kind == kind, controls.c.name == name)
            was = db.execute(delete(controls).where(*which)).rowcount == 1
            if was:
                self._record(db, f"{kind} goes on", what=name, by=by)
            return was

    def stops(self) -> list[Control]:
        """Everything that is stopped, oldest first."""
        with self._reading() as db:
            rows = db.execute(select(controls).order_by(controls.c.at)).all()
        return [Control(kind=Kind(row.kind), name=row.name, reason=row.reason, by=row.by, at=row.at) for row in rows]

    def left_tasks(self) -> dict[str, Control]:
        """The tasks that were left on purpose."""
        return {found.name: found for found in self.stops() if found.kind is Kind.TASK}

    def running_under(self, kind: Kind, name: str) -> int:
        """Stages and local trainings that still run in a pool, over a data set, or anywhere (FLEET)."""
        of_runs, of_trainings = [runs.c.state == State.RUNNING], [retrainings.c.state == "running"]
        if kind is Kind.POOL:
            of_runs.append(runs.c.stage == name)
        elif kind is Kind.DATASET:
            of_runs.append(runs.c.dataset == name)
            of_trainings.append(retrainings.c.dataset == name)
        with self._reading() as db:
            count = int(db.execute(select(func.count()).select_from(runs).where(*of_runs)).scalar_one())
            if kind is not Kind.POOL or name == Stage.TRAIN:
                chosen = select(func.count()).select_from(retrainings).where(*of_trainings)
                count += int(db.execute(chosen).scalar_one())
        return count


def stopped(pool: Any, dataset: Any) -> ColumnElement[bool]:
    """Whether a stage of a pool over a data set must not begin; columns or values."""
    which = or_(
        controls.c.kind == Kind.FLEET,
        and_(controls.c.kind == Kind.POOL, controls.c.name == pool),
        and_(controls.c.kind == Kind.DATASET, controls.c.name == dataset),
    )
    return exists(select(controls.c.name).where(which))
