"""Tasks and runs come in, or are refused."""

import json
import time
import uuid
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Engine, Select, String, bindparam, delete, func, or_, select

from pipeline.protocol.task import Task
from pipeline.stores.db.session import Prepared, Session
from pipeline.stores.fleet.base import ADMISSION_LOCK, DATABASE_CLOCK, PAYLOAD, STAGES, noted
from pipeline.stores.fleet.privacy import Budget
from pipeline.stores.fleet.records import Refusal, State
from pipeline.stores.fleet.tables import refusals, runs, tasks

#: A hostile backend can invent refusable tasks without end; the newest ones are enough for a person.
MAX_REFUSALS = 1000
#: Columns of a run that nothing is known for yet.
_LATER = ("owner", "lease_until", "not_before", "error")
#: Parsed tasks that a process keeps.
_KEPT_TASKS = 256


class Intake(Budget):
    """What a poll writes down."""

    def __init__(
        self,
        engine: Engine,
        *,
        lease_seconds: float = 30.0,
        max_attempts: int = 5,
        privacy_budget: Mapping[str, float] | None = None,
    ) -> None:
        """As `LedgerBase`, with the caps on each data set's privacy budget."""
        super().__init__(engine, lease_seconds=lease_seconds, max_attempts=max_attempts)
        self.privacy_budget = privacy_budget or {}
        self._tasks: dict[str, Task] = {}
        self._first = Prepared(engine, _standing(bindparam("its_task", type_=String), bindparam("its_round")))
        self._keep_task = Prepared(engine, self._insert(tasks).on_conflict_do_nothing())
        self._count = Prepared(
            engine,
            _submissions(
                *(bindparam(name, type_=String) for name in ("its_miner", "its_set", "its_model", "its_hash"))
            ),
        )
        # Without values it would name every column; those that are not given are none.
        given = {
            column.name: bindparam(column.name, type_=column.type) for column in runs.c if column.name not in _LATER
        }
        clock = {"driven_at": DATABASE_CLOCK} if self._postgres else {}
        self._keep_run = Prepared(
            engine, self._insert(runs).values(given | clock).on_conflict_do_nothing().returning(runs.c.run_id)
        )
        self._forget_refusal = Prepared(
            engine,
            delete(refusals).where(
                refusals.c.task_hash == bindparam("its_hash", type_=String),
                refusals.c.miner == bindparam("its_miner", type_=String),
            ),
        )

    def add_task(self, task: Task) -> str:
        """Remembers a task that a trusted publisher signed. Returns the hash that stands for its (taskID, round): the first."""
        with self._quick() as db:
            return self._add_task(db, task)

    def add_run(
        self, task: Task, miner: str, miner_name: str, *, max_submissions: int = 1, held: bool = False
    ) -> str | None:
        """Makes the run of a task and a miner, queued for its first stage, or `held` until a person has given a word.

        Returns its id, or None: it is there already, another task has its (taskID, round), or the miner has
        `max_submissions` over this model already.
        """
        run_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{task.task_hash}/{miner}"))
        model = task.model_sha256.hex()
        now = time.time()
        its = {"its_hash": task.task_hash, "its_miner": miner, "its_set": task.dataset, "its_model": model}
        row = {
            "run_id": run_id,
            "task_hash": task.task_hash,
            "task_id": task.task_id,
            "round": task.round,
            "dataset": task.dataset,
            "model_sha256": model,
            "miner": miner,
            "miner_name": miner_name,
            "state": (State.HELD if held else State.QUEUED).value,
            "stage": STAGES[0].value,
            "token": 0,
            "driven_at": time.monotonic(),
            "attempts": 0,
            "deadline": task.deadline,
            "progress": {},
            "created_at": now,
            "updated_at": now,
        }
        with self._quick() as db:
            self._lock(db, ADMISSION_LOCK)
            if self._add_task(db, task) != task.task_hash:
                return None
            if self._count.run(db, its).fetchone()[0] >= max_submissions:
                return None
            added = self._keep_run.run(db, row).fetchall()
            self._forget_refusal.run(db, its)
        return run_id if added else None

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
        its = {"its_hash": but, "its_miner": miner, "its_set": dataset, "its_model": model_sha256}
        with self._quick_reading() as db:
            return int(self._count.run(db, its).fetchone()[0])

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

    def _add_task(self, db: Session, task: Task) -> str:
        its = {"its_task": task.task_id, "its_round": task.round}
        standing = self._first.run(db, its).fetchone()
        if standing is not None:
            return str(standing[0])
        row = {
            "task_hash": task.task_hash,
            "task_id": task.task_id,
            "round": task.round,
            "document": json.dumps(task.document, ensure_ascii=False, allow_nan=False),
            "seen_at": time.time(),
        }
        self._keep_task.run(db, row)
        return str(self._first.run(db, its).fetchone()[0])


def _submissions(miner: Any, dataset: Any, model: Any, but: Any) -> Select[Any]:
    over = (State.REJECTED.value, State.EXPIRED.value, State.DROPPED.value)
    ended = or_(*(runs.c.state == state for state in over))
    return select(func.count()).where(
        runs.c.miner == miner,
        runs.c.dataset == dataset,
        runs.c.model_sha256 == model,
        runs.c.task_hash != but,
        or_(~ended, noted(runs.c.run_id, PAYLOAD)),
    )


def _standing(task_id: Any, round_number: Any) -> Select[Any]:
    return select(tasks.c.task_hash).where(tasks.c.task_id == task_id, tasks.c.round == round_number)
