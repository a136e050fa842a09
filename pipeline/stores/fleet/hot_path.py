"""What every stage asks of the ledger when nothing is amiss: take the run that is queued, note a digest, write the output down.

Each is one statement that says itself when something is amiss (no row answers to it). `claims.py` looks closer then, in the
same transaction.
"""

import json
import time
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Double, Engine, Integer, String, Text, bindparam, cast, null, select, update

from pipeline.stores.db.session import Prepared, Session
from pipeline.stores.fleet.base import DATABASE_CLOCK, PAYLOAD, first_unfinished
from pipeline.stores.fleet.controls import stopped
from pipeline.stores.fleet.records import Claim, Fenced, Stage, State, label_of
from pipeline.stores.fleet.tables import notes, outputs, runs
from pipeline.stores.fleet.telling import Telling


class HotPath(Telling):
    """The statements, and the three things that are done with them."""

    def __init__(self, engine: Engine, *, lease_seconds: float = 30.0, max_attempts: int = 5) -> None:
        """As `LedgerBase`."""
        super().__init__(engine, lease_seconds=lease_seconds, max_attempts=max_attempts)
        now: Any = DATABASE_CLOCK if self._postgres else bindparam("clock", type_=Double)
        until, at = now + bindparam("lease", type_=Double), bindparam("at", type_=Double)
        its = runs.c.run_id == bindparam("its_id", type_=String)
        held = update(runs).where(
            its, runs.c.token == bindparam("its_token", type_=Integer), runs.c.state == State.RUNNING.value
        )
        self._take_queued = Prepared(
            engine,
            update(runs)
            .where(
                its,
                runs.c.stage == bindparam("its_stage", type_=String),
                runs.c.state == State.QUEUED.value,
                ~stopped(runs.c.stage, runs.c.dataset),
            )
            .values(
                state=State.RUNNING.value,
                token=runs.c.token + 1,
                owner=bindparam("by", type_=Text),
                lease_until=until,
                not_before=null(),
                updated_at=at,
            )
            .returning(
                *(
                    runs.c[name]
                    for name in ("token", "task_hash", "miner", "attempts", "task_id", "round", "miner_name")
                )
            ),
        )
        self._lengthen = Prepared(engine, held.values(lease_until=until))
        self._advance = Prepared(engine, held.values(lease_until=until, attempts=0, updated_at=at))
        self._move_on = Prepared(
            engine,
            held.values(
                state=bindparam("next_state", type_=String),
                stage=bindparam("next_stage", type_=String),
                owner=null(),
                lease_until=null(),
                driven_at=now,
                attempts=0,
                error=null(),
                updated_at=at,
            ),
        )
        self._keep_output = Prepared(engine, outputs.insert())
        stored = select(
            outputs.c.stage, outputs.c.damaged, cast(outputs.c.artifacts, Text), cast(outputs.c.figures, Text)
        )
        self._stored_outputs = Prepared(engine, stored.where(outputs.c.run_id == bindparam("its_id", type_=String)))
        noted = select(notes.c.name, notes.c.digest).where(notes.c.run_id == bindparam("its_id", type_=String))
        self._noted = Prepared(engine, noted)
        upsert = self._insert(notes)
        self._keep_note = Prepared(
            engine,
            upsert.on_conflict_do_update(
                index_elements=["run_id", "name"],
                set_={"digest": upsert.excluded.digest, "stage": upsert.excluded.stage},
            ),
        )

    def _take(self, db: Session, run_id: str, stage: str, owner: str) -> Claim | None:
        """Claims a run that is queued for the stage; None where it is not, and nothing has happened."""
        started = time.time()
        values = {"its_id": run_id, "its_stage": stage, "by": owner, "at": started} | self._lease()
        row = self._take_queued.run(db, values).fetchone()
        if row is None:
            return None
        token, task_hash, miner, attempts, *named = row
        return self._claimed(db, run_id, stage, token, task_hash, miner, attempts, label_of(*named))

    def _claimed(
        self, db: Session, run_id: str, stage: str, token: int, task_hash: str, miner: str, attempts: int, label: str
    ) -> Claim:
        """The claim under this token, with what earlier stages left."""
        artifacts: dict[str, str] = dict(self._noted.run(db, {"its_id": run_id}).fetchall())
        figures: dict[str, Any] = {}
        finished, made = set[str](), set[str]()
        for name, damaged, its_artifacts, its_figures in self._stored_outputs.run(db, {"its_id": run_id}).fetchall():
            made.add(name)
            if not damaged:
                finished.add(name)
                artifacts.update(json.loads(its_artifacts))
                figures.update(json.loads(its_figures))
        return Claim(
            run_id=run_id,
            stage=Stage(stage),
            token=token,
            task_hash=task_hash,
            miner=miner,
            attempts=attempts,
            inputs=artifacts,
            figures=figures,
            finished=frozenset(finished),
            made=frozenset(made),
            started_at=time.time(),
            started_monotonic=time.monotonic(),
            label=label,
        )

    def note(self, claim: Claim, name: str, digest: str) -> None:
        """Makes a digest part of the run before its stage ends; on disk when it returns. Raises Fenced.

        A new digest is progress: attempts start from none again, so that a training that advances between two kills goes on.
        A payload's note is the last moment before bytes leave: it is written down in the audit log, and raises Rejected where a
        cap on epsilon forbids them.
        """
        its = {"its_id": claim.run_id, "its_token": claim.token, "at": time.time()}
        with self._quick(durable=True) as db:
            known = dict(self._noted.run(db, {"its_id": claim.run_id}).fetchall())
            fresh = known.get(name) != digest
            held = self._advance if fresh else self._lengthen
            if held.run(db, its | self._lease()).rowcount != 1:
                raise fenced(claim)
            if fresh and name == PAYLOAD:
                self._may_leave(db, claim, digest)
            if fresh:
                made = {"run_id": claim.run_id, "name": name, "stage": claim.stage.value, "digest": digest}
                self._keep_note.run(db, made)

    def _finish(
        self, claim: Claim, artifacts: Mapping[str, str], figures: Mapping[str, Any], durable: bool
    ) -> tuple[bool, Stage | None]:
        """Writes the first output of a stage down. Whether it did, and the stage that is due next.

        While the claim holds, nobody else writes outputs of its run: what stood when it was made stands.
        """
        due = first_unfinished(claim.finished | {claim.stage})
        now = time.time()
        state = State.ACCEPTED if due is None else State.QUEUED
        moved = {
            "its_id": claim.run_id,
            "its_token": claim.token,
            "next_state": state.value,
            "next_stage": None if due is None else due.value,
            "clock": time.monotonic(),
            "at": now,
        }
        with self._quick(durable=durable) as db:
            if self._move_on.run(db, moved).rowcount != 1:
                return False, None
            self._keep_output.run(db, output_row(claim, artifacts, figures, now))
            self._tell(db, claim, figures)
        return True, due

    def _lease(self) -> dict[str, float]:
        return {"clock": time.monotonic(), "lease": self._lease_seconds}


def output_row(claim: Claim, artifacts: Mapping[str, str], figures: Mapping[str, Any], now: float) -> dict[str, Any]:
    """A row of the table of outputs."""
    return {
        "run_id": claim.run_id,
        "stage": claim.stage.value,
        "token": claim.token,
        "artifacts": dict(artifacts),
        "figures": dict(figures),
        "seconds": time.monotonic() - claim.started_monotonic,
        "started_at": claim.started_at,
        "finished_at": now,
        "damaged": False,
    }


def fenced(claim: Claim) -> Fenced:
    """The error of a claim that is over."""
    return Fenced(f"run {claim.run_id}: stage {claim.stage} is no longer this worker's (token {claim.token})")
