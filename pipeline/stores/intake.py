"""Tasks and runs come in, or are refused."""

import json
import time
import uuid
from typing import Any

from sqlalchemy import Connection, Engine, Select, String, bindparam, delete, func, or_, select

from pipeline.protocol.task import Task
from pipeline.stores.ledger_base import ADMISSION_LOCK, PAYLOAD, STAGES, LedgerBase, noted
from pipeline.stores.prepared import Prepared
from pipeline.stores.records import Refusal, State
from pipeline.stores.run_tables import refusals, runs, tasks

#: A hostile backend can invent refusable tasks without end; the newest ones are enough for a person.
MAX_REFUSALS = 1000
#: Parsed tasks that a process keeps.
_KEPT_TASKS = 256


class Intake(LedgerBase):
    """What a poll writes down."""

    def __init__(self, engine: Engine, *, lease_seconds: float = 30.0, max_attempts: int = 5) -> None:
        """As `LedgerBase`."""
        super().__init__(engine, lease_seconds=lease_seconds, max_attempts=max_attempts)
        self._tasks: dict[str, Task] = {}
        self._document = Prepared(
            engine, select(tasks.c.document).where(tasks.c.task_hash == bindparam("its_hash", type_=String))
        )

    def add_task(self, task: Task) -> str:
        """Remembers a task that a trusted publisher signed. Returns the hash that stands for its (taskID, round): the first."""
        with self._transaction() as db:
            return self._add_task(db, task)

    def add_run(self, task: Task, miner: str, miner_name: str, *, max_submissions: int = 1) -> str | None:
        """Makes the run of a task and a miner, queued for its first stage.

        Returns its id, or None: it is there already, another task has its (taskID, round), or the miner has
        `max_submissions` over this model already.
        """
        run_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{task.task_hash}/{miner}"))
        model = task.model_sha256.hex()
        now = time.time()
        with self._transaction() as db:
            self._lock(db, ADMISSION_LOCK)
            if self._add_task(db, task) != task.task_hash:
                return None
            if self._submissions(db, miner, task.dataset, model, but=task.task_hash) >= max_submissions:
                return None
            added = db.execute(
                self._insert(runs)
                .values(
                    run_id=run_id,
                    task_hash=task.task_hash,
                    task_id=task.task_id,
                    round=task.round,
                    dataset=task.dataset,
                    model_sha256=model,
                    miner=miner,
                    miner_name=miner_name,
                    state=State.QUEUED,
                    stage=STAGES[0],
                    token=0,
                    driven_at=self._now(),
                    attempts=0,
                    deadline=task.deadline,
                    progress={},
                    created_at=now,
                    updated_at=now,
                )
                .on_conflict_do_nothing()
                .returning(runs.c.run_id)
            ).scalar_one_or_none()
            db.execute(delete(refusals).where(refusals.c.task_hash == task.task_hash, refusals.c.miner == miner))
            return None if added is None else str(added)

    def task(self, task_hash: str) -> Task:
        """A task that was added. Raises KeyError for another one."""
        if (known := self._tasks.get(task_hash)) is not None:
            return known
        with self._quick_reading() as db:
            row = self._document.run(db, {"its_hash": task_hash}).fetchone()
        if row is None:
            raise KeyError(task_hash)
        if len(self._tasks) >= _KEPT_TASKS:
            self._tasks.clear()
        found = self._tasks[task_hash] = Task.decode(row[0])
        return found

    def standing_task(self, task_id: str, round_number: int) -> str | None:
        """The hash of the task that was seen first for (taskID, round)."""
        with self._reading() as db:
            return db.execute(_standing(task_id, round_number)).scalar_one_or_none()

    def miners_of(self, task_hash: str) -> set[str]:
        """Addresses that have a run of this task."""
        with self._reading() as db:
            return set(db.execute(select(runs.c.miner).where(runs.c.task_hash == task_hash)).scalars())

    def submissions_for_model(self, miner: str, dataset: str, model_sha256: str, *, but: str = "") -> int:
        """Runs of a miner over one model (64 hex digits) and data set that have sent an update or still may.

        `but`: a task hash that is not counted, the one that is being judged.
        """
        with self._reading() as db:
            return self._submissions(db, miner, dataset, model_sha256, but=but)

    def refuse(self, refusal: Refusal) -> bool:
        """Writes down why a task is not run. Returns whether that is news: repeated at every poll it is not."""
        key = (refusals.c.task_hash == refusal.task_hash, refusals.c.miner == refusal.miner)
        reasons = list(refusal.reasons)
        with self._reading() as db:
            if db.execute(select(refusals.c.reasons).where(*key)).scalar_one_or_none() == reasons:
                return False
        with self._transaction() as db:
            insert = self._insert(refusals).values(
                task_hash=refusal.task_hash,
                miner=refusal.miner,
                task_id=refusal.task_id,
                round=refusal.round,
                reasons=reasons,
                created_at=refusal.created_at,
            )
            db.execute(
                insert.on_conflict_do_update(
                    index_elements=["task_hash", "miner"],
                    set_={"reasons": reasons, "created_at": refusal.created_at},
                )
            )
            newest = select(refusals.c.created_at).order_by(refusals.c.created_at.desc()).offset(MAX_REFUSALS).limit(1)
            db.execute(delete(refusals).where(refusals.c.created_at <= newest.scalar_subquery()))
        return True

    def refusals(self) -> list[Refusal]:
        """What this fleet does not run, newest first."""
        with self._reading() as db:
            rows = db.execute(select(refusals).order_by(refusals.c.created_at.desc())).all()
        return [
            Refusal(
                task_hash=row.task_hash,
                miner=row.miner,
                task_id=row.task_id,
                round=row.round,
                reasons=tuple(row.reasons),
                created_at=row.created_at,
            )
            for row in rows
        ]

    def _submissions(self, db: Connection, miner: str, dataset: str, model: str, *, but: str) -> int:
        over = (State.REJECTED, State.EXPIRED, State.DROPPED)
        statement = select(func.count()).where(
            runs.c.miner == miner,
            runs.c.dataset == dataset,
            runs.c.model_sha256 == model,
            runs.c.task_hash != but,
            or_(runs.c.state.not_in(over), noted(runs.c.run_id, PAYLOAD)),
        )
        return int(db.execute(statement).scalar_one())

    def _add_task(self, db: Connection, task: Task) -> str:
        standing = db.execute(_standing(task.task_id, task.round)).scalar_one_or_none()
        if standing is not None:
            return str(standing)
        document = json.dumps(task.document, ensure_ascii=False, allow_nan=False)
        insert = self._insert(tasks).values(
            task_hash=task.task_hash,
            task_id=task.task_id,
            round=task.round,
            document=document,
            seen_at=time.time(),
        )
        db.execute(insert.on_conflict_do_nothing())
        return str(db.execute(_standing(task.task_id, task.round)).scalar_one())


def _standing(task_id: str, round_number: int) -> Select[Any]:
    return select(tasks.c.task_hash).where(tasks.c.task_id == task_id, tasks.c.round == round_number)
