"""A local training is worked on: claim, renew, report, finish; and every way in which it can end without figures."""

import time
from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, or_, select, update

from pipeline.stores.audit_log import AuditLog
from pipeline.stores.controls import stopped
from pipeline.stores.ledger_base import MAX_WAIT_SECONDS, at_the_limit
from pipeline.stores.records import Fenced, Stage
from pipeline.stores.retraining_records import RetrainingClaim, Turn
from pipeline.stores.run_tables import retrainings


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
