"""The aggregator's memory of rounds: adopted tasks, their state, and what closing leaves behind, step by step."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

from sqlalchemy import ColumnElement, Engine, Row, and_, func, select

from pipeline.protocol.task import Task
from pipeline.stores.aggregator.tables import key_requests, metadata, rounds, submissions
from pipeline.stores.db import lease
from pipeline.stores.db.party_ledger import Conflict, PartyLedger


class RoundState(StrEnum):
    """docs/protocol.md, section 7; IDLE and AGGREGATING are OPEN and CLOSING seen from outside."""

    #: Takes submissions.
    OPEN = "OPEN"
    #: Takes none; the sum is being made.
    CLOSING = "CLOSING"
    AWAITING_VERIFICATION = "AWAITING_VERIFICATION"
    PUBLISHED = "PUBLISHED"
    BACK_TO_TRAINING = "BACK_TO_TRAINING"
    FAILED_ACCURACY = "FAILED_ACCURACY"
    REJECTED = "REJECTED"
    ABORTED = "ABORTED"


#: A round in one of these moves by itself.
MOVING = (RoundState.OPEN, RoundState.CLOSING, RoundState.AWAITING_VERIFICATION)
#: The participants' votes published the block of a round in one of these.
VERIFIED = (RoundState.PUBLISHED, RoundState.BACK_TO_TRAINING, RoundState.FAILED_ACCURACY)

#: A step that was written down starts the count again: a round that advances between two kills is not given up.
_PROGRESS = {"attempts": 0}


@dataclass(frozen=True, kw_only=True)
class Round:
    """One round as the ledger has it."""

    row: Row[Any]
    #: Submissions that are in.
    accepted: int

    @cached_property
    def task(self) -> Task:
        """The round's task."""
        return Task.decode(self.row.document)

    @property
    def state(self) -> RoundState:
        """Where the round stands."""
        return RoundState(self.row.state)

    @property
    def is_over(self) -> bool:
        """Whether nothing in it moves any more."""
        return self.state not in MOVING

    @property
    def status(self) -> str:
        """The state as docs/protocol.md, section 7 names it."""
        if self.state is RoundState.OPEN and self.accepted == 0:
            return "IDLE"
        return "AGGREGATING" if self.state in (RoundState.OPEN, RoundState.CLOSING) else self.state.value


@dataclass(frozen=True, kw_only=True)
class RoundLease:
    """The right to take a round's next steps."""

    task_id: str
    round: int
    token: int
    #: Earlier leases that ended without a word.
    attempts: int


class RoundLedger(PartyLedger):
    """Rounds by (taskID, round)."""

    def __init__(self, engine: Engine, *, lease_seconds: float = 30.0) -> None:
        super().__init__(engine, metadata)
        self.lease_seconds = lease_seconds

    def adopt(self, task: Task, *, model: str, support: str | None, coordinates: int) -> bool:
        """Opens a round; False where it is there already. Raises Conflict for another task of that (taskID, round)."""
        now = time.time()
        values = {
            "task_id": task.task_id,
            "round": task.round,
            "task_hash": task.task_hash,
            "document": json.dumps(task.document),
            "state": RoundState.OPEN,
            "deadline": task.deadline,
            "max_miners": task.max_miners,
            "model": model,
            "support": support,
            "coordinates": coordinates,
            "adopted_at": now,
            "updated_at": now,
        }
        with self._writing(durable=True) as connection:
            found = connection.execute(
                select(rounds.c.task_hash).where(_is(task.task_id, task.round))
            ).scalar_one_or_none()
            if found is None:
                connection.execute(rounds.insert().values(values))
        if found not in (None, task.task_hash):
            raise Conflict(f"task hash: round {task.round} of {task.task_id} has {found}, and keeps it")
        return found is None

    def find(self, task_id: str, number: int) -> Round | None:
        """One round."""
        return next(iter(self._rounds(_is(task_id, number))), None)

    def all(self, task_id: str | None = None) -> list[Round]:
        """Every round (of one task), by task, oldest first."""
        return self._rounds(rounds.c.task_id == task_id) if task_id is not None else self._rounds()

    def moving(self) -> list[Round]:
        """The rounds that are not over."""
        return self._rounds(rounds.c.state.in_(MOVING))

    def by_block(self, block_hash: str) -> Round | None:
        """The round that a block closed."""
        return next(iter(self._rounds(rounds.c.block_hash == block_hash)), None)

    def begin_closing(self, task_id: str, number: int) -> bool:
        """From OPEN to CLOSING: no submission comes in any more. False where it is not open."""
        with self._writing(durable=True) as connection:
            changed = connection.execute(
                rounds.update()
                .where(_is(task_id, number), rounds.c.state == RoundState.OPEN)
                .values(state=RoundState.CLOSING, updated_at=time.time())
            )
        return changed.rowcount == 1

    def abort_open(self, task_id: str, number: int, *, reason: str) -> bool:
        """From OPEN to ABORTED. False where it is not open."""
        with self._writing(durable=True) as connection:
            changed = connection.execute(
                rounds.update()
                .where(_is(task_id, number), rounds.c.state == RoundState.OPEN)
                .values(state=RoundState.ABORTED, reason=reason, updated_at=time.time())
            )
        return changed.rowcount == 1

    def claim(self, task_id: str, number: int) -> RoundLease | None:
        """The lease of a round that is being closed, or None: it is not, or a live worker has it."""
        which = and_(_is(task_id, number), rounds.c.state.in_((RoundState.CLOSING, RoundState.AWAITING_VERIFICATION)))
        with self._writing() as connection:
            token = lease.claim(connection, rounds, which, self.lease_seconds)
            if token is None:
                return None
            attempts = connection.execute(select(rounds.c.attempts).where(which)).scalar_one()
        return RoundLease(task_id=task_id, round=number, token=token, attempts=attempts)

    def renew(self, held: RoundLease) -> None:
        """Lengthens the lease. Raises LeaseLost."""
        self._write(held, {"lease_until": time.time() + self.lease_seconds})

    def release(self, held: RoundLease, *, reason: str | None = None) -> None:
        """Gives the lease back; `reason` says why the round waits. Raises LeaseLost."""
        self._write(held, {"owner": None, "lease_until": None, "attempts": 0, "reason": reason})

    def advance(self, held: RoundLease, **values: Any) -> Round:
        """Writes a step's results down, on disk when it returns, and reads the round anew. Raises LeaseLost."""
        self._write(held, values | _PROGRESS | {"updated_at": time.time()}, durable=True)
        found = self.find(held.task_id, held.round)
        assert found is not None
        return found

    def store_request(self, held: RoundLease, request_hash: str, envelope: dict[str, Any]) -> Round:
        """Keeps a key request before it is sent, as the round's own. Raises LeaseLost."""
        with self._writing(durable=True) as connection:
            values = {"request_hash": request_hash, "updated_at": time.time(), **_PROGRESS}
            lease.write(connection, rounds, _is(held.task_id, held.round), held.token, values)
            if self._envelope(connection, request_hash) is None:
                connection.execute(
                    key_requests.insert().values(
                        request_hash=request_hash,
                        task_id=held.task_id,
                        round=held.round,
                        envelope=json.dumps(envelope),
                        created_at=time.time(),
                    )
                )
        found = self.find(held.task_id, held.round)
        assert found is not None
        return found

    def refuse_invalid(self, held: RoundLease, hashes: Sequence[str], reason: str) -> None:
        """Takes submissions out that the publisher found invalid, and the request that named them. Raises LeaseLost."""
        with self._writing(durable=True) as connection:
            cleared = {"request_hash": None, "updated_at": time.time()}
            lease.write(connection, rounds, _is(held.task_id, held.round), held.token, cleared)
            connection.execute(
                submissions.update()
                .where(
                    submissions.c.task_id == held.task_id,
                    submissions.c.round == held.round,
                    submissions.c.submission_hash.in_(hashes),
                    submissions.c.state == "accepted",
                )
                .values(state="refused", status=422, reasons=[reason])
            )

    def envelope(self, request_hash: str) -> str:
        """A key request's JSON text."""
        with self._reading() as connection:
            text = self._envelope(connection, request_hash)
        assert text is not None
        return text

    def _envelope(self, connection: Any, request_hash: str) -> str | None:
        rows = select(key_requests.c.envelope).where(key_requests.c.request_hash == request_hash)
        found: str | None = connection.execute(rows).scalar_one_or_none()
        return found

    def _write(self, held: RoundLease, values: dict[str, Any], *, durable: bool = False) -> None:
        with self._writing(durable=durable) as connection:
            lease.write(connection, rounds, _is(held.task_id, held.round), held.token, values)

    def _rounds(self, *which: ColumnElement[bool]) -> list[Round]:
        accepted = (
            select(func.count())
            .select_from(submissions)
            .where(
                submissions.c.task_id == rounds.c.task_id,
                submissions.c.round == rounds.c.round,
                submissions.c.state == "accepted",
            )
            .scalar_subquery()
        )
        rows = select(rounds, accepted.label("accepted")).where(*which).order_by(rounds.c.task_id, rounds.c.round)
        with self._reading() as connection:
            return [Round(row=row, accepted=row.accepted) for row in connection.execute(rows)]


def _is(task_id: str, number: int) -> ColumnElement[bool]:
    return and_(rounds.c.task_id == task_id, rounds.c.round == number)
