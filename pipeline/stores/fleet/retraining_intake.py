"""Local trainings are asked for in chunks, and taken back."""

import time
import uuid
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, exists, select, update

from pipeline.stores.fleet.base import LedgerBase
from pipeline.stores.fleet.retraining_records import CHUNK, UNFINISHED, Turn
from pipeline.stores.fleet.tables import retrainings, runs


class RetrainingIntake(LedgerBase):
    """What `flfleet retrain` writes, and `flfleet cancel` takes back."""

    def unknown_tasks(self, task_ids: Collection[str]) -> list[str]:
        """Those of the tasks that this fleet has no run of."""
        wanted = sorted(set(task_ids))
        known: set[str] = set()
        with self._reading() as db:
            for begin in range(0, len(wanted), CHUNK):
                some = select(runs.c.task_id).where(runs.c.task_id.in_(wanted[begin : begin + CHUNK])).distinct()
                known.update(db.execute(some).scalars())
        return [name for name in wanted if name not in known]

    def add_retrainings(
        self,
        *,
        batch: str,
        priority: int,
        task_ids: Collection[str] | None = None,
        dataset: str | None = None,
    ) -> Iterator[int]:
        """Enqueues the newest round's training of every miner that has a run of it; yields how many each chunk added.

        Of these tasks (None: all), over this data set (None: any). What waits or runs already is not doubled, so an
        interrupted command may be given again.
        """
        wanted = None if task_ids is None else sorted(set(task_ids))
        pages = [None] if wanted is None else [wanted[at : at + CHUNK] for at in range(0, len(wanted), CHUNK)]
        for page in pages:
            chosen: list[ColumnElement[bool]] = [] if page is None else [runs.c.task_id.in_(page)]
            chosen += [] if dataset is None else [runs.c.dataset == dataset]
            last: str | None = ""
            while last is not None:
                last, added = self._add_chunk(batch, priority, chosen, last)
                yield added

    def cancel_retrainings(
        self, *, ids: Collection[str] | None = None, task_id: str | None = None, batch: str | None = None
    ) -> int:
        """Ends the unfinished ones (of these ids, of a task, of a batch; else all). A worker that has one is fenced.

        Their checkpoints are nobody's then: the nightly pruning removes them.
        """
        which: list[ColumnElement[bool]] = [retrainings.c.state.in_(UNFINISHED)]
        which += [] if ids is None else [retrainings.c.retraining_id.in_(sorted(ids))]
        which += [] if task_id is None else [retrainings.c.task_id == task_id]
        which += [] if batch is None else [retrainings.c.batch == batch]
        ended = {
            "state": Turn.CANCELLED,
            "token": retrainings.c.token + 1,
            "owner": None,
            "lease_until": None,
            "checkpoint": None,
            "finished_at": time.time(),
        }
        with self._transaction() as db:
            return db.execute(update(retrainings).where(*which).values(ended)).rowcount

    def _add_chunk(
        self, batch: str, priority: int, chosen: Sequence[ColumnElement[bool]], last: str
    ) -> tuple[str | None, int]:
        later = runs.alias("later")
        is_newest = ~exists().where(
            later.c.miner == runs.c.miner, later.c.task_id == runs.c.task_id, later.c.round > runs.c.round
        )
        at_work = exists().where(retrainings.c.run_id == runs.c.run_id, retrainings.c.state.in_(UNFINISHED))
        page = (
            select(runs, at_work.label("at_work"))
            .where(*chosen, is_newest, runs.c.run_id > last)
            .order_by(runs.c.run_id)
            .limit(CHUNK)
        )
        now = time.time()
        with self._transaction() as db:
            rows = db.execute(page).all()
            fresh = [_fresh(row, batch, priority, now) for row in rows if not row.at_work]
            if fresh:
                db.execute(retrainings.insert(), fresh)
        return (rows[-1].run_id if len(rows) == CHUNK else None), len(fresh)


def _fresh(run: Row[Any], batch: str, priority: int, now: float) -> dict[str, Any]:
    copied = ("run_id", "task_hash", "task_id", "round", "dataset", "miner", "miner_name")
    return {name: getattr(run, name) for name in copied} | {
        "retraining_id": str(uuid.uuid4()),
        "batch": batch,
        "priority": priority,
        "state": Turn.QUEUED,
        "token": 0,
        "attempts": 0,
        "progress": {},
        "figures": {},
        "created_at": now,
    }
