"""A person's word on a task before it trains, where the operator asks for one (FLFLEET_APPROVAL)."""

import hashlib
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import or_, select, update

from pipeline.errors import Misconfigured
from pipeline.protocol.signing import canonical
from pipeline.protocol.task import Task
from pipeline.stores.fleet.audit import AuditLog
from pipeline.stores.fleet.records import State
from pipeline.stores.fleet.tables import approvals, runs, tasks

#: What a publisher may change from one round to the next without asking a person again who approved further rounds.
_OF_A_ROUND = frozenset(
    {
        *("round", "modelURL", "modelIPFSHash", "modelSHA256", "support", "compression"),
        *("publishedAt", "parentBlockHash", "signature"),
    }
)


class Verdict(StrEnum):
    """What a person said."""

    APPROVED = "approved"
    REFUSED = "refused"


@dataclass(frozen=True, kw_only=True)
class Approval:
    """A person's word on one round of a task, or on that and the later ones."""

    task_id: str
    task_hash: str
    verdict: Verdict
    further: bool
    reason: str
    by: str
    #: Unix seconds.
    at: float


class Approvals(AuditLog):
    """Asking for a word, and giving it."""

    def approval(self, task: Task) -> Approval | None:
        """The newest word on this task: by its hash, or on an earlier round for all later ones on the same terms."""
        same_terms = (approvals.c.task_id == task.task_id, approvals.c.terms == terms_of(task), approvals.c.further)
        chosen = (
            select(approvals)
            .where(or_(approvals.c.task_hash == task.task_hash, same_terms[0] & same_terms[1] & same_terms[2]))
            .order_by(approvals.c.at.desc())
            .limit(1)
        )
        with self._reading() as db:
            row = db.execute(chosen).one_or_none()
        if row is None:
            return None
        return Approval(
            task_id=row.task_id,
            task_hash=row.task_hash,
            verdict=Verdict(row.verdict),
            further=row.further,
            reason=row.reason,
            by=row.by,
            at=row.at,
        )

    def held_tasks(self) -> list[str]:
        """Hashes of the tasks whose runs wait for a person, oldest first."""
        chosen = (
            select(tasks.c.task_hash)
            .where(tasks.c.task_hash.in_(select(runs.c.task_hash).where(runs.c.state == State.HELD)))
            .order_by(tasks.c.seen_at)
        )
        with self._reading() as db:
            return list(db.execute(chosen).scalars())

    def decide(self, task: Task, verdict: Verdict, *, by: str, further: bool = False, reason: str = "") -> int:
        """Writes the word down and moves the runs that wait for it. Returns how many.

        Raises Misconfigured where a run of a refused task is past waiting: that is `flfleet runs drop`'s, or `leave`'s.
        """
        now = time.time()
        row = {
            "task_id": task.task_id,
            "terms": terms_of(task),
            "verdict": verdict,
            "further": further,
            "reason": reason,
            "by": by,
            "at": now,
        }
        end: dict[str, Any] = {"state": State.QUEUED, "error": None}
        if verdict is Verdict.REFUSED:
            end = {"state": State.DROPPED, "error": f"refused by {by}{': ' + reason if reason else ''}"}
        with self._transaction(durable=True) as db:
            insert = self._insert(approvals).values(task_hash=task.task_hash, **row)
            db.execute(insert.on_conflict_do_update(index_elements=["task_hash"], set_=row))
            moved = db.execute(
                update(runs)
                .where(runs.c.task_hash == task.task_hash, runs.c.state == State.HELD)
                .values(end | {"token": runs.c.token + 1, "driven_at": 0.0, "updated_at": now})
            ).rowcount
            if not moved and verdict is Verdict.REFUSED:
                raise Misconfigured(
                    f"no run of {task.task_id} round {task.round} waits for a word any more; "
                    f"give up what runs with: flfleet leave {task.task_id}"
                )
            self._record(
                db,
                f"task {verdict}",
                task=task.task_id,
                round=task.round,
                taskHash=task.task_hash,
                dataset=task.dataset,
                by=by,
                furtherRounds=further,
                reason=reason,
                runs=moved,
            )
        return moved


def terms_of(task: Task) -> str:
    """SHA-256 of what the rounds of a task share: data set, parties, roster, training, network. 64 hex digits."""
    shared = {name: value for name, value in task.document.items() if name not in _OF_A_ROUND}
    return hashlib.sha256(canonical(shared)).hexdigest()
