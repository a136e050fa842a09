"""A stage is worked on: claim, renew, note, commit; and every way in which it can end without a commit."""

import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, delete, select, update

from pipeline.stores.fleet.base import (
    MAX_WAIT_SECONDS,
    PAYLOAD,
    RECEIPT_GRACE_SECONDS,
    STAGES,
    at_the_limit,
    first_unfinished,
    noted,
)
from pipeline.stores.fleet.controls import stopped
from pipeline.stores.fleet.hot_path import HotPath, output_row
from pipeline.stores.fleet.records import Claim, Fenced, Stage, State, label_of
from pipeline.stores.fleet.tables import notes, outputs, runs
from pipeline.stores.fleet.tallies import FAILURE, REDONE, Tallies, bucket_of

_OUTPUTS = select(outputs).where(outputs.c.run_id == bindparam("run_id"))
_INSERT_OUTPUT = outputs.insert()
_STOPPED = select(stopped(bindparam("pool"), bindparam("dataset")))


class Claims(HotPath):
    """What a worker does with a run. Each method is one transaction, and all but `claim` raise Fenced."""

    def claim(self, run_id: str, stage: str, owner: str) -> Claim | None:
        """Takes the stage for `owner` (`owners.this_process`), or answers None: another stage is due, a live worker has it,
        the run waits or has ended, or a person paused its pool or data set. The run of a worker that died is taken over, and
        its attempt counted.
        """
        with self._quick() as hot:
            taken = self._take(hot, run_id, stage, owner)
        return taken if taken is not None else self._claim_closely(run_id, stage, owner)

    def _claim_closely(self, run_id: str, stage: str, owner: str) -> Claim | None:
        """As `claim`, of a run that was not simply queued."""
        counted = Tallies()
        with self._transaction() as db:
            row = self._row(db, run_id)
            if row is None or row.stage != stage:
                return None
            if db.execute(_STOPPED, {"pool": row.stage, "dataset": row.dataset}).scalar_one():
                return None
            attempts = row.attempts
            if row.state == State.RUNNING:
                if not self._is_lost(row):
                    return None
                if not self._release(db, row, counted):
                    counted.write(db)
                    return None
                attempts += 1
            elif row.state == State.WAITING:
                if row.not_before is not None and row.now < row.not_before <= row.now + MAX_WAIT_SECONDS:
                    return None
            elif row.state != State.QUEUED:
                return None
            values = {
                "state": State.RUNNING,
                "token": row.token + 1,
                "owner": owner,
                "lease_until": self._now() + self._lease_seconds,
                "not_before": None,
                "updated_at": time.time(),
            }
            self._update(db, run_id, row.token, values)
            counted.write(db)
            token, label = row.token + 1, label_of(row.task_id, row.round, row.miner_name)
            return self._claimed(self._session(db), run_id, stage, token, row.task_hash, row.miner, attempts, label)

    def renew(self, claim: Claim) -> None:
        """Lengthens the lease. Raises Fenced."""
        self._write(claim, lease_until=self._now() + self._lease_seconds)

    def keep(self, run_id: str, owner: str) -> bool:
        """Lengthens a lease on behalf of `owner`, which is known to work on the run but may be unable to say so.

        Returns whether there was something to do: less than two thirds of the lease were left, and it is still its.
        """
        now = self._now()
        held = (runs.c.run_id == run_id, runs.c.state == State.RUNNING, runs.c.owner == owner)
        short = runs.c.lease_until < now + self._lease_seconds * 2 / 3
        with self._transaction() as db:
            changed = db.execute(update(runs).where(*held, short).values(lease_until=now + self._lease_seconds))
        return changed.rowcount == 1

    def report(self, claim: Claim, progress: Mapping[str, Any]) -> None:
        """Shows a stage's progress to people. Raises Fenced."""
        self._write(claim, progress=dict(progress), updated_at=time.time())

    def commit(
        self, claim: Claim, artifacts: Mapping[str, str], figures: Mapping[str, Any], *, durable: bool = False
    ) -> Stage | None:
        """Writes a stage's output down and returns the stage that is due next (None: the run is accepted). Raises Fenced.

        Committing twice under one token is once. Where the stage was made again and came out otherwise, the stages after it
        are due again too.
        """
        if claim.stage not in claim.made:
            written, due = self._finish(claim, artifacts, figures, durable)
            if written:
                return due
        return self._commit_closely(claim, artifacts, figures, durable)

    def _commit_closely(
        self, claim: Claim, artifacts: Mapping[str, str], figures: Mapping[str, Any], durable: bool
    ) -> Stage | None:
        """As `commit`, of a stage that has an output already, or whose claim does not hold."""
        with self._transaction(durable=durable) as db:
            before = {row.stage: row for row in db.execute(_OUTPUTS, {"run_id": claim.run_id})}
            own = before.get(claim.stage)
            if own is not None and own.token == claim.token:
                return first_unfinished({name for name, row in before.items() if not row.damaged})
            done = {name for name, row in before.items() if not row.damaged} | {claim.stage}
            replaced = Tallies()
            if own is not None:
                forgotten = [own]
                if own.artifacts != dict(artifacts):
                    later = STAGES[STAGES.index(claim.stage) + 1 :]
                    self._forget(db, claim.run_id, later)
                    done -= set(later)
                    forgotten += [row for name, row in before.items() if name in later]
                for row in forgotten:  # what was done stays counted
                    replaced.add(REDONE, row.stage, bucket_of(row.seconds), seconds=row.seconds)
                db.execute(delete(outputs).where(outputs.c.run_id == claim.run_id, outputs.c.stage == claim.stage))
            due = first_unfinished(done)
            now = time.time()
            self._fenced(
                db,
                claim,
                {
                    "state": State.ACCEPTED if due is None else State.QUEUED,
                    "stage": due,
                    "owner": None,
                    "lease_until": None,
                    "driven_at": self._now(),
                    "attempts": 0,
                    "error": None,
                    "updated_at": now,
                },
            )
            db.execute(_INSERT_OUTPUT, output_row(claim, artifacts, figures, now))
            replaced.write(db)
            self._tell(db, claim, figures)
        return due

    def defer(self, claim: Claim, reason: str, seconds: float) -> State:
        """It may work later: waits, and counts no attempt. Past the deadline the run is expired. Raises Fenced."""
        with self._transaction() as db:
            row = self._row(db, claim.run_id)
            if row is None:
                raise Fenced(f"run {claim.run_id} is gone")
            sent = db.execute(select(noted(claim.run_id, PAYLOAD))).scalar_one()
            left = row.deadline + (RECEIPT_GRACE_SECONDS if sent else 0.0) - self._unix(row)
            if left <= 0:
                said = f"submissions closed in stage {claim.stage}; last: {reason}"
                return self._end(db, claim, State.EXPIRED, said, "expired")
            # Half of what is left at most: so there is always one more try before the deadline.
            wait = min(max(seconds, 0.0), MAX_WAIT_SECONDS, max(left / 2, 1.0))
            return self._end(db, claim, State.WAITING, reason, "retryable", not_before=self._now() + wait)

    def fail(self, claim: Claim, reason: str, seconds: float) -> State:
        """A bug, or a lack of memory: counts an attempt, waits; at the limit the run is dead. Raises Fenced."""
        with self._transaction() as db:
            row = self._row(db, claim.run_id)
            attempts = (0 if row is None else row.attempts) + 1
            if attempts >= self._max_attempts:
                said = at_the_limit(attempts, claim.stage, reason)
                return self._end(db, claim, State.DEAD, said, "error", attempts=attempts)
            wait = min(max(seconds, 0.0), MAX_WAIT_SECONDS)
            waits = self._now() + wait
            return self._end(db, claim, State.WAITING, reason, "error", attempts=attempts, not_before=waits)

    def reject(self, claim: Claim, reason: str) -> State:
        """The other side's fault: final. Raises Fenced."""
        with self._transaction() as db:
            return self._end(db, claim, State.REJECTED, reason, "rejected")

    def kill(self, claim: Claim, reason: str) -> State:
        """For a person: nothing that a repetition mends. Raises Fenced."""
        with self._transaction() as db:
            return self._end(db, claim, State.DEAD, reason, "misconfigured")

    def remake(self, claim: Claim, damaged: Collection[str], reason: str) -> Stage | None:
        """Makes the stages due again whose artifacts (digests) are damaged; counts an attempt. Raises Fenced.

        Returns the stage that is due, or None where the run is dead: the attempts are used up, or bytes that depend on a
        damaged artifact may have left already, and no others may follow them.
        """
        with self._transaction() as db:
            row = self._row(db, claim.run_id)
            attempts = (0 if row is None else row.attempts) + 1
            stored = db.execute(
                select(outputs.c.stage, outputs.c.artifacts, outputs.c.damaged).where(outputs.c.run_id == claim.run_id)
            ).all()
            broken = {each.stage for each in stored if set(each.artifacts.values()) & set(damaged)}
            sent = db.execute(select(noted(claim.run_id, PAYLOAD))).scalar_one()
            if attempts >= self._max_attempts:
                said = at_the_limit(attempts, claim.stage, reason)
                self._end(db, claim, State.DEAD, said, "damaged", attempts=attempts)
                return None
            if sent and broken:
                said = f"{reason}; the submission may be out, so nothing that it holds is made anew"
                self._end(db, claim, State.DEAD, said, "damaged")
                return None
            db.execute(
                update(outputs)
                .where(outputs.c.run_id == claim.run_id, outputs.c.stage.in_(sorted(broken)))
                .values(damaged=True)
            )
            db.execute(
                delete(notes).where(
                    notes.c.run_id == claim.run_id, notes.c.digest.in_(sorted(damaged)), notes.c.name != PAYLOAD
                )
            )
            due = first_unfinished({each.stage for each in stored if not each.damaged} - broken)
            again = {"attempts": attempts, "stage": due, "driven_at": self._now()}
            self._end(db, claim, State.QUEUED, reason, "damaged", **again)
        return due

    def _end(self, db: Connection, claim: Claim, state: State, reason: str, kind: str, **values: Any) -> State:
        ended = {"state": state, "owner": None, "lease_until": None, "error": reason, "updated_at": time.time()}
        self._fenced(db, claim, ended | values)
        Tallies.of(FAILURE, claim.stage, kind).write(db)
        return state

    def _write(self, claim: Claim, **values: Any) -> None:
        with self._transaction() as db:
            self._fenced(db, claim, values)

    def _forget(self, db: Connection, run_id: str, stages: Sequence[Stage]) -> None:
        db.execute(delete(outputs).where(outputs.c.run_id == run_id, outputs.c.stage.in_(stages)))
        db.execute(delete(notes).where(notes.c.run_id == run_id, notes.c.stage.in_(stages)))
