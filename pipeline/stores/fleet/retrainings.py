"""Local trainings that a person asked for: taken in order of priority, fenced like runs.

They repeat the training of a run's task for its miner and keep the figures. No artifact of theirs can reach a submission.

    retraining_intake   add_retrainings cancel_retrainings       what a person asks for
    retraining_claims   next_retraining finish_retraining ...    what a worker does with one
    here                retraining_counts retrainings ...        what people ask
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, func, or_, select

from pipeline.errors import Misconfigured
from pipeline.stores.fleet.retraining_claims import RetrainingClaims
from pipeline.stores.fleet.retraining_intake import RetrainingIntake
from pipeline.stores.fleet.retraining_records import CHUNK, Retraining, Turn
from pipeline.stores.fleet.tables import retrainings


class Retrainings(RetrainingIntake, RetrainingClaims):
    """All of a fleet's local trainings."""

    def retraining_counts(self, batch: str | None = None) -> dict[Turn, int]:
        """How many stand where, of one batch or of all."""
        which = [] if batch is None else [retrainings.c.batch == batch]
        with self._reading() as db:
            rows = db.execute(
                select(retrainings.c.state, func.count()).where(*which).group_by(retrainings.c.state)
            ).all()
        return {Turn(state): count for state, count in rows}

    def retrainings(self, batch: str | None = None, *, states: Collection[Turn] = tuple(Turn)) -> Iterator[Retraining]:
        """Those of a batch (None: all), by task and miner, a page at a time."""
        order = (retrainings.c.task_id, retrainings.c.miner, retrainings.c.retraining_id)
        last: Row[Any] | None = None
        while True:
            which: list[ColumnElement[bool]] = [retrainings.c.state.in_(sorted(states))]
            which += [] if batch is None else [retrainings.c.batch == batch]
            which += [] if last is None else [_after(order, last)]
            with self._reading() as db:
                rows = db.execute(select(retrainings).where(*which).order_by(*order).limit(CHUNK)).all()
            yield from map(_record, rows)
            if len(rows) < CHUNK:
                return
            last = rows[-1]

    def is_retraining(self, name: str) -> bool:
        """Whether this is a local training's id, or a batch's."""
        which = or_(retrainings.c.retraining_id == name, retrainings.c.batch == name)
        with self._reading() as db:
            return db.execute(select(retrainings.c.batch).where(which).limit(1)).one_or_none() is not None

    def newest_batch(self) -> str:
        """The batch that was asked for last. Raises Misconfigured where there is none."""
        with self._reading() as db:
            found = db.execute(
                select(retrainings.c.batch).order_by(retrainings.c.created_at.desc()).limit(1)
            ).scalar_one_or_none()
        if found is None:
            raise Misconfigured("nothing was retrained yet; begin with: flfleet retrain TASK")
        return str(found)


def _after(order: Sequence[ColumnElement[Any]], row: Row[Any]) -> ColumnElement[bool]:
    """Rows behind `row` in the order: what a page starts with."""
    (first, second, third) = order
    task_id, miner, number = row.task_id, row.miner, row.retraining_id
    return or_(
        first > task_id,
        and_(first == task_id, second > miner),
        and_(first == task_id, second == miner, third > number),
    )


def _record(row: Row[Any]) -> Retraining:
    return Retraining(
        retraining_id=row.retraining_id,
        batch=row.batch,
        run_id=row.run_id,
        task_id=row.task_id,
        round=row.round,
        dataset=row.dataset,
        miner=row.miner,
        miner_name=row.miner_name,
        priority=row.priority,
        state=Turn(row.state),
        attempts=row.attempts,
        error=row.error,
        progress=row.progress,
        figures=row.figures,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
    )
