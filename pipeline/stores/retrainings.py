"""Local trainings that a person asked for: enqueued in chunks, taken in order of priority, fenced like runs.

They repeat the training of a run's task for its miner and keep the figures. No artifact of theirs can reach a submission.
"""

import time
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, exists, func, or_, select, update

from pipeline.errors import Misconfigured
from pipeline.stores.audit_log import AuditLog
from pipeline.stores.controls import stopped
from pipeline.stores.ledger_base import MAX_WAIT_SECONDS, at_the_limit
from pipeline.stores.records import Fenced, Stage
from pipeline.stores.retraining_records import UNFINISHED, Retraining, RetrainingClaim, Turn
from pipeline.stores.run_tables import retrainings, runs

#: Rows of one transaction, and of one page of an answer: what a command over thousands of runs holds in memory.
CHUNK = 500


class Retrainings(AuditLog):
    """What `flfleet retrain` writes, a training worker takes, and `flfleet cancel` takes back."""

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

    def next_retraining(self, owner: str) -> RetrainingClaim | None:
        """Takes the first one whose turn it is; None where none waits, or what would be trained is paused."""
        with self._transaction() as db:
            now = self._now()
            turn = (
                select(retrainings)
                .where(
                    retrainings.c.state == Turn.QUEUED,
                    _has_waited(now),
                    ~stopped(Stage.TRAIN.value, retrainings.c.dataset),
                )
                .order_by(retrainings.c.priority, retrainings.c.created_at, retrainings.c.retraining_id)
                .limit(1)
            )
            row = db.execute(turn.with_for_update(skip_locked=True) if self._postgres else turn).one_or_none()
            if row is None:
                return None
            values = {
                "state": Turn.RUNNING,
                "token": row.token + 1,
                "owner": owner,
                "lease_until": now + self._lease_seconds,
                "not_before": None,
                "started_at": time.time(),
            }
            db.execute(
                update(retrainings)
                .where(retrainings.c.retraining_id == row.retraining_id, retrainings.c.token == row.token)
                .values(values)
            )
        return RetrainingClaim(
            run_id=row.retraining_id,
            token=row.token + 1,
            task_hash=row.task_hash,
            miner=row.miner,
            attempts=row.attempts,
        )

    def renew_retraining(self, claim: RetrainingClaim) -> None:
        """Lengthens the lease. Raises Fenced."""
        self._write_retraining(claim, lease_until=self._now() + self._lease_seconds)

    def report_retraining(self, claim: RetrainingClaim, progress: Mapping[str, Any]) -> None:
        """Shows its progress to people. Raises Fenced."""
        self._write_retraining(claim, progress=dict(progress))

    def finish_retraining(self, claim: RetrainingClaim, figures: Mapping[str, Any]) -> None:
        """Keeps its figures. Raises Fenced."""
        with self._transaction() as db:
            ended = {"state": Turn.DONE, "owner": None, "lease_until": None, "finished_at": time.time()}
            self._held_write(db, claim, ended | {"figures": dict(figures), "error": None})
            row = db.execute(select(retrainings).where(retrainings.c.retraining_id == claim.run_id)).one()
            told = {"task": row.task_id, "round": row.round, "miner": row.miner, "name": row.miner_name}
            digest = figures.get("dataset")
            self._record(
                db, "trained locally", retraining=claim.run_id, **told, dataset=row.dataset, datasetDigest=digest
            )

    def fail_retraining(self, claim: RetrainingClaim, reason: str) -> None:
        """It cannot be done, for this reason. Raises Fenced."""
        self._end_retraining(claim, Turn.FAILED, error=reason)

    def defer_retraining(self, claim: RetrainingClaim, reason: str, seconds: float) -> Turn:
        """Counts an attempt and waits; at the limit it has failed. Raises Fenced."""
        attempts = claim.attempts + 1
        if attempts >= self._max_attempts:
            self.fail_retraining(claim, at_the_limit(attempts, "retrain", reason))
            return Turn.FAILED
        wait = min(max(seconds, 0.0), MAX_WAIT_SECONDS)
        self._write_retraining(
            claim,
            state=Turn.QUEUED,
            owner=None,
            lease_until=None,
            attempts=attempts,
            error=reason,
            not_before=self._now() + wait,
        )
        return Turn.QUEUED

    def waiting_retrainings(self) -> int:
        """Takes back what dead workers held, and says how many a worker could begin now."""
        with self._transaction() as db:
            held = select(retrainings, self._clock("now")).where(retrainings.c.state == Turn.RUNNING)
            for row in db.execute(held).all():
                if self._is_lost(row):
                    db.execute(
                        update(retrainings)
                        .where(retrainings.c.retraining_id == row.retraining_id, retrainings.c.token == row.token)
                        .values(self._taken_back(row))
                    )
            now = self._now()
            waiting = select(func.count()).where(
                retrainings.c.state == Turn.QUEUED,
                _has_waited(now),
                ~stopped(Stage.TRAIN.value, retrainings.c.dataset),
            )
            return int(db.execute(waiting).scalar_one())

    def cancel_retrainings(
        self, *, ids: Collection[str] | None = None, task_id: str | None = None, batch: str | None = None
    ) -> int:
        """Ends the unfinished ones (of these ids, of a task, of a batch; else all). A worker that has one is fenced."""
        which: list[ColumnElement[bool]] = [retrainings.c.state.in_(UNFINISHED)]
        which += [] if ids is None else [retrainings.c.retraining_id.in_(sorted(ids))]
        which += [] if task_id is None else [retrainings.c.task_id == task_id]
        which += [] if batch is None else [retrainings.c.batch == batch]
        ended = {
            "state": Turn.CANCELLED,
            "token": retrainings.c.token + 1,
            "owner": None,
            "lease_until": None,
            "finished_at": time.time(),
        }
        with self._transaction() as db:
            return db.execute(update(retrainings).where(*which).values(ended)).rowcount

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

    def _taken_back(self, row: Row[Any]) -> dict[str, Any]:
        attempts = row.attempts + 1
        reason = f"a worker ended without a word ({row.owner.rpartition('|')[0]})"
        dead = attempts >= self._max_attempts
        return {
            "state": Turn.FAILED if dead else Turn.QUEUED,
            "token": row.token + 1,
            "owner": None,
            "lease_until": None,
            "attempts": attempts,
            "error": at_the_limit(attempts, "retrain", reason) if dead else reason,
            "finished_at": time.time() if dead else None,
        }

    def _end_retraining(self, claim: RetrainingClaim, state: Turn, **values: Any) -> None:
        ended = {"state": state, "owner": None, "lease_until": None, "finished_at": time.time()}
        self._write_retraining(claim, **ended, **values)

    def _write_retraining(self, claim: RetrainingClaim, **values: Any) -> None:
        with self._transaction() as db:
            self._held_write(db, claim, values)

    def _held_write(self, db: Connection, claim: RetrainingClaim, values: Mapping[str, Any]) -> None:
        held = (
            retrainings.c.retraining_id == claim.run_id,
            retrainings.c.token == claim.token,
            retrainings.c.state == Turn.RUNNING,
        )
        if db.execute(update(retrainings).where(*held).values(values)).rowcount != 1:
            raise Fenced(f"retraining {claim.run_id} is no longer this worker's (token {claim.token})")


def _has_waited(now: Any) -> ColumnElement[bool]:
    # A wait that lies too far ahead is of a clock before a reboot.
    until = retrainings.c.not_before
    return or_(until.is_(None), until <= now, until > now + MAX_WAIT_SECONDS)


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
