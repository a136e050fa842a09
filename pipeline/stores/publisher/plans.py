"""The publisher's memory of what it wants: plans, the tasks that it signed for them, their supports."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Engine, and_, select

from pipeline.protocol.strict import read_json
from pipeline.protocol.task import Task
from pipeline.stores.db import lease
from pipeline.stores.db.party_ledger import Conflict, PartyLedger
from pipeline.stores.publisher.tables import metadata, plans, signed_tasks, supports


class PlanState(StrEnum):
    """Where a plan stands."""

    #: Goes on by itself.
    RUNNING = "RUNNING"
    #: expectedAccuracy or maxRounds was reached.
    DONE = "DONE"
    #: A round was ABORTED or REJECTED, or a block did not stand the check; the reason says which.
    STOPPED = "STOPPED"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A task over its rounds."""

    task_id: str
    #: Of round 1, without publishedAt and signature.
    document: dict[str, Any]
    #: Artifact digest (SHA-256) of the initial model.
    model: str
    ratios: Sequence[float] | None
    stop_at_expected: bool
    state: PlanState
    reason: str | None
    token: int

    def ratio(self, number: int) -> float:
        """compression.ratio of a round."""
        if not self.ratios:
            return float(self.document["compression"]["ratio"])
        return self.ratios[min(number, len(self.ratios)) - 1]


@dataclass(frozen=True, kw_only=True)
class SignedTask:
    """A round that was signed."""

    task: Task
    #: Artifact digests.
    model: str
    support: str | None
    #: Whether the backend has it.
    posted: bool


class PlanLedger(PartyLedger):
    """Plans by taskID."""

    def __init__(self, engine: Engine, *, lease_seconds: float = 30.0) -> None:
        super().__init__(engine, metadata)
        self.lease_seconds = lease_seconds

    def add(
        self,
        document: dict[str, Any],
        *,
        model: str,
        ratios: Sequence[float] | None,
        stop_at_expected: bool,
    ) -> bool:
        """Keeps a plan; False where the very same is there. Raises Conflict for another one under that taskID."""
        wanted = {
            "document": json.dumps(document, sort_keys=True),
            "model": model,
            "ratios": None if ratios is None else list(ratios),
            "stop_at_expected": stop_at_expected,
        }
        task_id = document["taskID"]
        with self._writing(durable=True) as connection:
            found = connection.execute(
                select(*(plans.c[name] for name in wanted)).where(plans.c.task_id == task_id)
            ).one_or_none()
            if found is None:
                connection.execute(plans.insert().values(task_id=task_id, state=PlanState.RUNNING, **wanted))
        if found is not None and found._asdict() != wanted:
            raise Conflict(f"another plan for {task_id} is stored already; choose another taskID")
        return found is None

    def find(self, task_id: str) -> Plan | None:
        """One plan."""
        return next((plan for plan in self.all() if plan.task_id == task_id), None)

    def all(self) -> list[Plan]:
        """Every plan, by taskID."""
        with self._reading() as connection:
            rows = connection.execute(select(plans).order_by(plans.c.task_id)).all()
        return [
            Plan(
                task_id=row.task_id,
                document=read_json(row.document),
                model=row.model,
                ratios=row.ratios,
                stop_at_expected=row.stop_at_expected,
                state=PlanState(row.state),
                reason=row.reason,
                token=row.token,
            )
            for row in rows
        ]

    def running(self) -> list[str]:
        """TaskIDs of the plans that go on, in order."""
        rows = select(plans.c.task_id).where(plans.c.state == PlanState.RUNNING).order_by(plans.c.task_id)
        with self._reading() as connection:
            return list(connection.execute(rows).scalars())

    def claim(self, task_id: str) -> Plan | None:
        """Leases a running plan, or None: it has ended, or a live worker has it."""
        which = and_(plans.c.task_id == task_id, plans.c.state == PlanState.RUNNING)
        with self._writing() as connection:
            token = lease.claim(connection, plans, which, self.lease_seconds)
        return None if token is None else self.find(task_id)

    def renew(self, plan: Plan) -> None:
        """Lengthens the lease. Raises LeaseLost."""
        self._write(plan, {"lease_until": time.time() + self.lease_seconds})

    def release(self, plan: Plan, *, reason: str | None = None) -> None:
        """Gives the lease back; `reason` says what the plan waits for. Raises LeaseLost."""
        self._write(plan, {"owner": None, "lease_until": None, "reason": reason})

    def end(self, plan: Plan, state: PlanState, reason: str) -> None:
        """The plan goes no further. Raises LeaseLost."""
        self._write(plan, {"state": state, "reason": reason, "owner": None, "lease_until": None})

    def sign(self, plan: Plan, task: Task, *, model: str, support: str | None) -> SignedTask:
        """Keeps a signed task before anybody sees it, and its support. Raises LeaseLost, and Conflict where one is there."""
        with self._writing(durable=True) as connection:
            lease.write(connection, plans, plans.c.task_id == plan.task_id, plan.token, {"reason": None})
            which = and_(signed_tasks.c.task_id == task.task_id, signed_tasks.c.round == task.round)
            if connection.execute(select(signed_tasks.c.task_hash).where(which)).one_or_none() is not None:
                raise Conflict(f"round {task.round} of {task.task_id} is signed already")
            connection.execute(
                signed_tasks.insert().values(
                    task_id=task.task_id,
                    round=task.round,
                    task_hash=task.task_hash,
                    document=json.dumps(task.document),
                    model=model,
                    support=support,
                    posted=False,
                    signed_at=task.published_at,
                )
            )
            if task.support is not None and support is not None:
                known = select(supports.c.hash).where(supports.c.hash == task.support.hash)
                if connection.execute(known).one_or_none() is None:
                    connection.execute(supports.insert().values(hash=task.support.hash, artifact=support))
        return SignedTask(task=task, model=model, support=support, posted=False)

    def mark_posted(self, task: Task) -> None:
        """The backend has it."""
        which = and_(signed_tasks.c.task_id == task.task_id, signed_tasks.c.round == task.round)
        with self._writing() as connection:
            connection.execute(signed_tasks.update().where(which).values(posted=True))

    def signed(self, task_id: str, number: int | None = None) -> SignedTask | None:
        """A round's task, or the newest round's."""
        rows = select(signed_tasks).where(signed_tasks.c.task_id == task_id)
        if number is not None:
            rows = rows.where(signed_tasks.c.round == number)
        with self._reading() as connection:
            row = connection.execute(rows.order_by(signed_tasks.c.round.desc()).limit(1)).one_or_none()
        if row is None:
            return None
        task = Task.decode(row.document)
        return SignedTask(task=task, model=row.model, support=row.support, posted=row.posted)

    def support(self, support_hash: str) -> str | None:
        """Artifact digest of a support's bitmap."""
        rows = select(supports.c.artifact).where(supports.c.hash == support_hash)
        with self._reading() as connection:
            return connection.execute(rows).scalar_one_or_none()

    def _write(self, plan: Plan, values: dict[str, Any]) -> None:
        with self._writing() as connection:
            lease.write(connection, plans, plans.c.task_id == plan.task_id, plan.token, values)
