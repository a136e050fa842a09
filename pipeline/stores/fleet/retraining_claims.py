"""A local training is worked on: claim, renew, report, finish; and every way in which it can end without figures."""

import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, exists, func, or_, select, update

from pipeline.stores.fleet.audit import AuditLog
from pipeline.stores.fleet.base import MAX_WAIT_SECONDS, at_the_limit
from pipeline.stores.fleet.controls import stopped
from pipeline.stores.fleet.records import Fenced, Stage, State
from pipeline.stores.fleet.retraining_records import UNFINISHED, RetrainingClaim, Turn
from pipeline.stores.fleet.tables import retrainings, runs


class RetrainingClaims(AuditLog):
    """What a train worker does with a local training; fenced like runs. Each method is one transaction."""

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
            self._take_turn(db, row, owner)
        return _claimed(row)

    def peers_of(
        self, claim: RetrainingClaim, owner: str, *, most: int, is_alike: Callable[[str], bool]
    ) -> list[RetrainingClaim]:
        """Takes those that are to be trained together with one that is claimed: of its miner, data set and priority, before any
        attempt failed, and `is_alike` says so of their task, by its hash. At most `most`, of twice as many that are looked at.
        """
        waiting = (
            select(retrainings)
            .where(
                retrainings.c.state == Turn.QUEUED,
                retrainings.c.priority == claim.priority,
                retrainings.c.miner == claim.miner,
                retrainings.c.dataset == claim.dataset,
                retrainings.c.attempts == 0,
                ~stopped(Stage.TRAIN.value, retrainings.c.dataset),
            )
            .order_by(retrainings.c.created_at, retrainings.c.retraining_id)
            .limit(2 * most)
        )
        with self._reading() as db:
            rows = db.execute(waiting).all()
        chosen = list(islice((row for row in rows if is_alike(row.task_hash)), most))
        with self._transaction() as db:
            return [_claimed(row) for row in chosen if self._take_turn(db, row, owner)]

    def renew_retraining(self, claim: RetrainingClaim) -> None:
        """Lengthens the lease. Raises Fenced."""
        self._write_retraining(claim, lease_until=self._now() + self._lease_seconds)

    def note_retraining(self, claim: RetrainingClaim, digest: str) -> None:
        """Where the next claim goes on, should this one end. It is progress: attempts start from none. Raises Fenced."""
        self._write_retraining(claim, checkpoint=digest, attempts=0, lease_until=self._now() + self._lease_seconds)

    def report_retraining(self, claim: RetrainingClaim, progress: Mapping[str, Any]) -> None:
        """Shows its progress to people. Raises Fenced."""
        self._write_retraining(claim, progress=dict(progress))

    def report_retrainings(self, progress: Iterable[tuple[RetrainingClaim, Mapping[str, Any]]]) -> set[str]:
        """As `report_retraining`, of several at once. Returns the ids of those that are no longer their worker's."""
        with self._transaction() as db:
            return _lost_among(progress, lambda claim, its: self._held_write(db, claim, {"progress": dict(its)}))

    def finish_retrainings(self, figures: Iterable[tuple[RetrainingClaim, Mapping[str, Any]]]) -> set[str]:
        """As `finish_retraining`, of several at once. Returns the ids of those that are no longer their worker's."""
        with self._transaction() as db:
            return _lost_among(figures, partial(self._finish_one, db))

    def finish_retraining(self, claim: RetrainingClaim, figures: Mapping[str, Any]) -> None:
        """Keeps its figures. Raises Fenced."""
        with self._transaction() as db:
            self._finish_one(db, claim, figures)

    def fail_retraining(self, claim: RetrainingClaim, reason: str) -> None:
        """It cannot be done, for this reason. Raises Fenced."""
        self._write_retraining(claim, **_ended(Turn.FAILED), error=reason)

    def defer_retraining(self, claim: RetrainingClaim, reason: str, seconds: float, *, afresh: bool = False) -> Turn:
        """Counts an attempt and waits; at the limit it has failed. `afresh`: from its first epoch on. Raises Fenced."""
        wait = min(max(seconds, 0.0), MAX_WAIT_SECONDS)
        with self._transaction() as db:
            row = db.execute(select(retrainings).where(retrainings.c.retraining_id == claim.run_id)).one()
            values = self._counted(row, reason) | {"not_before": self._now() + wait}
            self._held_write(db, claim, values | ({"checkpoint": None} if afresh else {}))
        return Turn(values["state"])

    def give_back_retraining(self, claim: RetrainingClaim) -> None:
        """Back into the queue, where it was: no attempt is counted. Raises Fenced."""
        self._write_retraining(claim, state=Turn.QUEUED, owner=None, lease_until=None)

    def round_waits(self, seconds: float) -> bool:
        """Whether a round's training has been due for so long, and no worker took it."""
        due = (
            runs.c.state == State.QUEUED,
            runs.c.stage == Stage.TRAIN,
            runs.c.driven_at <= self._now() - seconds,
            ~stopped(Stage.TRAIN.value, runs.c.dataset),
        )
        with self._reading() as db:
            return bool(db.execute(select(exists().where(*due))).scalar_one())

    def waiting_retrainings(self) -> int:
        """Takes back what dead workers held, and says how many a worker could begin now."""
        with self._transaction() as db:
            held = select(retrainings, self._clock("now")).where(retrainings.c.state == Turn.RUNNING)
            for row in db.execute(held).all():
                if self._is_lost(row):
                    db.execute(
                        update(retrainings)
                        .where(retrainings.c.retraining_id == row.retraining_id, retrainings.c.token == row.token)
                        .values(self._lost(row))
                    )
            now = self._now()
            waiting = select(func.count()).where(
                retrainings.c.state == Turn.QUEUED,
                _has_waited(now),
                ~stopped(Stage.TRAIN.value, retrainings.c.dataset),
            )
            return int(db.execute(waiting).scalar_one())

    def retraining_checkpoints(self) -> set[str]:
        """Digests that claims to come go on from: the artifact store must keep them."""
        with self._reading() as db:
            held = select(retrainings.c.checkpoint).where(
                retrainings.c.state.in_(UNFINISHED), retrainings.c.checkpoint.is_not(None)
            )
            return set(db.execute(held).scalars())

    def _finish_one(self, db: Connection, claim: RetrainingClaim, figures: Mapping[str, Any]) -> None:
        self._held_write(db, claim, _ended(Turn.DONE) | {"figures": dict(figures), "error": None})
        row = db.execute(select(retrainings).where(retrainings.c.retraining_id == claim.run_id)).one()
        told = {"task": row.task_id, "round": row.round, "miner": row.miner, "name": row.miner_name}
        digest = figures.get("dataset")
        self._record(db, "trained locally", retraining=claim.run_id, **told, dataset=row.dataset, datasetDigest=digest)

    def _take_turn(self, db: Connection, row: Row[Any], owner: str) -> bool:
        """Takes a row that was read just now. Whether nobody was faster."""
        values = {
            "state": Turn.RUNNING,
            "token": row.token + 1,
            "owner": owner,
            "lease_until": self._now() + self._lease_seconds,
            "not_before": None,
            "started_at": time.time(),
        }
        seen = (retrainings.c.retraining_id == row.retraining_id, retrainings.c.token == row.token)
        free = retrainings.c.state == Turn.QUEUED
        return db.execute(update(retrainings).where(*seen, free).values(values)).rowcount == 1

    def _lost(self, row: Row[Any]) -> dict[str, Any]:
        reason = f"a worker ended without a word ({row.owner.rpartition('|')[0]})"
        return self._counted(row, reason) | {"token": row.token + 1}

    def _counted(self, row: Row[Any], reason: str) -> dict[str, Any]:
        """What an attempt without figures makes of a row: it waits, or at the limit has failed."""
        attempts = row.attempts + 1
        if attempts >= self._max_attempts:
            return _ended(Turn.FAILED) | {"attempts": attempts, "error": at_the_limit(attempts, "retrain", reason)}
        return {"state": Turn.QUEUED, "owner": None, "lease_until": None, "attempts": attempts, "error": reason}

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


def _lost_among(
    each: Iterable[tuple[RetrainingClaim, Mapping[str, Any]]],
    write: Callable[[RetrainingClaim, Mapping[str, Any]], None],
) -> set[str]:
    lost = set()
    for claim, values in each:
        try:
            write(claim, values)
        except Fenced:  # the statement has changed nothing; the others' stand
            lost.add(claim.run_id)
    return lost


def _ended(state: Turn) -> dict[str, Any]:
    return {"state": state, "owner": None, "lease_until": None, "checkpoint": None, "finished_at": time.time()}


def _claimed(row: Row[Any]) -> RetrainingClaim:
    return RetrainingClaim(
        run_id=row.retraining_id,
        token=row.token + 1,
        task_hash=row.task_hash,
        miner=row.miner,
        dataset=row.dataset,
        priority=row.priority,
        attempts=row.attempts,
        checkpoint=row.checkpoint,
    )
