"""The aggregator's memory of submissions: pending until they are verified, then accepted or refused with every reason.

At most one accepted for a miner and a round, at most maxMiners for a round; one pending at a time for a miner.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, and_, func, or_, select, true

from pipeline.errors import Retryable
from pipeline.protocol.strict import read_json
from pipeline.protocol.submission import Header, Receipt
from pipeline.stores.aggregator.rounds import RoundState
from pipeline.stores.aggregator.tables import metadata, rounds, submissions
from pipeline.stores.db import lease
from pipeline.stores.db.party_ledger import Conflict, PartyLedger, Taken

#: A roster member that keeps sending what is refused keeps us busy: after this many a round it is not heard any more.
MAX_REFUSED = 8
#: A submission whose verification ended without a word this often takes the worker down: refused.
MAX_ATTEMPTS = 3


class Verdict(StrEnum):
    """What became of a submission."""

    PENDING = "pending"
    ACCEPTED = "accepted"
    REFUSED = "refused"


class Closed(Conflict):
    """The round takes no submission any more, or `maxMiners` are in."""


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """A submission as it came, its bodies in the artifact store already."""

    header: Header
    signature: str
    #: SHA-256 of the whole body.
    body: str
    ciphertext: str
    wish: str | None
    #: Unix seconds.
    received_at: int


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A submission as the ledger has it."""

    id: int
    task_id: str
    round: int
    state: Verdict
    #: A refusal's HTTP status.
    status: int | None
    reasons: Sequence[str]
    header: Header
    signature: str
    #: Artifact digests.
    ciphertext: str
    wish: str | None
    received_at: int
    #: The receipt's JSON text.
    receipt: str | None
    attempts: int
    token: int


class SubmissionLedger(PartyLedger):
    """Submissions by number, in order of arrival."""

    def __init__(self, engine: Engine, *, lease_seconds: float = 30.0) -> None:
        super().__init__(engine, metadata)
        self.lease_seconds = lease_seconds

    def known(self, header: Header, body: str) -> Stored | None:
        """What is there under that header: accepted under any body, else the very same body (None: nothing).

        Raises Conflict: another submission of that miner is in.
        """
        with self._reading() as connection:
            return self._known(connection, header, body)

    def receive(self, arrival: Arrival) -> Stored:
        """Keeps a submission as pending, on disk when it returns; what is there already stays.

        Raises Closed, Conflict (another one of that miner is in, or too many were refused), and Retryable while another one
        of that miner is being verified.
        """
        header = arrival.header
        with self._writing(durable=True) as connection:
            if found := self._known(connection, header, arrival.body):
                return found
            self._raise_if_closed(connection, header.task_id, header.round, arrival.received_at)
            self._raise_if_busy(connection, header)
            number = connection.execute(
                submissions.insert()
                .values(
                    task_id=header.task_id,
                    round=header.round,
                    miner=header.miner,
                    submission_hash=header.submission_hash,
                    body=arrival.body,
                    state=Verdict.PENDING,
                    reasons=[],
                    header=json.dumps(header.document),
                    signature=arrival.signature,
                    ciphertext=arrival.ciphertext,
                    wish=arrival.wish,
                    received_at=arrival.received_at,
                )
                .returning(submissions.c.id)
            ).scalar_one()
            return self._select(connection, submissions.c.id == number)[0]

    def find(self, number: int) -> Stored | None:
        """One submission."""
        return self._one(submissions.c.id == number)

    def accepted(self, task_id: str, number: int) -> list[Stored]:
        """The submissions that are in a round, in order of receipt."""
        which = and_(_of(task_id, number), submissions.c.state == Verdict.ACCEPTED)
        with self._reading() as connection:
            return self._select(connection, which)

    def all(self) -> list[Stored]:
        """Everything that came and was kept, refused or not, in order of arrival."""
        with self._reading() as connection:
            return self._select(connection, true())

    def accepted_by_hash(self, submission_hash: str) -> Stored | None:
        """An accepted submission by its hash."""
        return self._one(
            and_(submissions.c.submission_hash == submission_hash, submissions.c.state == Verdict.ACCEPTED)
        )

    def bodies(self, task_id: str, number: int) -> set[str]:
        """Artifact digests of a round's submissions, without those that were refused."""
        kept = and_(_of(task_id, number), submissions.c.state != Verdict.REFUSED)
        with self._reading() as connection:
            rows = connection.execute(select(submissions.c.ciphertext, submissions.c.wish).where(kept)).all()
        return {digest for row in rows for digest in row if digest is not None}

    def pending(self) -> list[Stored]:
        """Everything that waits for its verdict."""
        with self._reading() as connection:
            return self._select(connection, submissions.c.state == Verdict.PENDING)

    def claim(self, number: int) -> Stored | None:
        """Leases a pending submission, or None: it has its verdict, or a live worker has it."""
        which = and_(submissions.c.id == number, submissions.c.state == Verdict.PENDING)
        with self._writing() as connection:
            if lease.claim(connection, submissions, which, self.lease_seconds) is None:
                return None
            return self._select(connection, which)[0]

    def renew(self, stored: Stored) -> None:
        """Lengthens the lease. Raises LeaseLost."""
        self._write(stored, {"lease_until": time.time() + self.lease_seconds})

    def release(self, stored: Stored) -> None:
        """Gives the lease back without a verdict. Raises LeaseLost."""
        self._write(stored, {"owner": None, "lease_until": None})

    def refuse(self, stored: Stored, status: int, reasons: Sequence[str]) -> list[str]:
        """Refused, with every reason; the artifacts that nothing else names may go. Raises LeaseLost."""
        verdict = {"state": Verdict.REFUSED, "status": status, "reasons": list(reasons), "owner": None}
        with self._writing() as connection:
            lease.write(connection, submissions, submissions.c.id == stored.id, stored.token, verdict)
            return [
                digest for digest in (stored.ciphertext, stored.wish) if digest and self._is_free(connection, digest)
            ]

    def forget(self, stored: Stored) -> None:
        """As if it had never come. Raises LeaseLost."""
        with self._writing() as connection:
            lease.write(connection, submissions, submissions.c.id == stored.id, stored.token, {"owner": None})
            connection.execute(submissions.delete().where(submissions.c.id == stored.id))

    def accept(self, stored: Stored, receipt: Receipt) -> bool:
        """Accepted; True where it was the last one that the round takes, which is then CLOSING.

        Raises Closed or Conflict (and leaves it pending), and LeaseLost.
        """
        try:
            with self._writing(durable=True) as connection:
                self._known(connection, stored.header, "")
                self._raise_for_shared_mask(connection, stored.header)
                maximum = self._raise_if_closed(connection, stored.task_id, stored.round, stored.received_at)
                values = {"state": Verdict.ACCEPTED, "receipt": json.dumps(receipt.document), "owner": None}
                lease.write(connection, submissions, submissions.c.id == stored.id, stored.token, values)
                is_full = self._count(connection, stored.task_id, stored.round) >= maximum
                if is_full:
                    connection.execute(
                        rounds.update()
                        .where(rounds.c.task_id == stored.task_id, rounds.c.round == stored.round)
                        .values(state=RoundState.CLOSING, updated_at=time.time())
                    )
                return is_full
        except Taken:
            raise Conflict("duplicate: another submission of this miner is in the round") from None

    def _known(self, connection: Connection, header: Header, body: str) -> Stored | None:
        mine = and_(_of(header.task_id, header.round), submissions.c.miner == header.miner)
        for found in self._select(connection, and_(mine, submissions.c.state == Verdict.ACCEPTED)):
            if found.header.submission_hash == header.submission_hash:
                return found
            raise Conflict(
                f"duplicate: another submission of {header.miner} is in the round: {found.header.submission_hash}"
            )
        same = and_(mine, submissions.c.submission_hash == header.submission_hash, submissions.c.body == body)
        return next(iter(self._select(connection, same)), None)

    def _raise_if_closed(self, connection: Connection, task_id: str, number: int, received_at: int) -> int:
        columns = (rounds.c.state, rounds.c.deadline, rounds.c.max_miners)
        which = and_(rounds.c.task_id == task_id, rounds.c.round == number)
        statement = select(*columns).where(which)
        if self._engine.dialect.name == "postgresql":  # two acceptances must not both be the last
            statement = statement.with_for_update()
        row = connection.execute(statement).one()
        if row.state != RoundState.OPEN:
            raise Closed(f"closed: round {number} of {task_id} takes no submission any more")
        if received_at >= row.deadline:
            raise Closed(f"closed: the deadline of round {number} of {task_id} is over")
        if self._count(connection, task_id, number) >= row.max_miners:
            raise Closed(f"closed: all {row.max_miners} submissions of round {number} of {task_id} are in")
        return int(row.max_miners)

    def _raise_for_shared_mask(self, connection: Connection, header: Header) -> None:
        # The publisher refuses a request in which a maskKey stands twice, and with it the honest ones of the round.
        which = and_(_of(header.task_id, header.round), submissions.c.state == Verdict.ACCEPTED)
        if any(other.header.mask_key == header.mask_key for other in self._select(connection, which)):
            raise Conflict("maskKey: another submission of this round has the same one; it must be fresh for each")

    def _raise_if_busy(self, connection: Connection, header: Header) -> None:
        mine = and_(_of(header.task_id, header.round), submissions.c.miner == header.miner)
        states = connection.execute(
            select(submissions.c.state, func.count()).where(mine).group_by(submissions.c.state)
        ).all()
        counts: dict[str, int] = {row[0]: row[1] for row in states}
        if counts.get(Verdict.PENDING):
            raise Retryable("another submission of this miner is being verified", retry_after=2.0)
        if counts.get(Verdict.REFUSED, 0) >= MAX_REFUSED:
            raise Conflict(f"{MAX_REFUSED} submissions of this miner were refused; no other one is taken this round")

    def _count(self, connection: Connection, task_id: str, number: int) -> int:
        which = and_(_of(task_id, number), submissions.c.state == Verdict.ACCEPTED)
        return int(connection.execute(select(func.count()).select_from(submissions).where(which)).scalar_one())

    def _is_free(self, connection: Connection, digest: str) -> bool:
        named = or_(submissions.c.ciphertext == digest, submissions.c.wish == digest)
        needed = and_(named, submissions.c.state != Verdict.REFUSED)
        return connection.execute(select(submissions.c.id).where(needed).limit(1)).one_or_none() is None

    def _write(self, stored: Stored, values: dict[str, Any]) -> None:
        with self._writing() as connection:
            lease.write(connection, submissions, submissions.c.id == stored.id, stored.token, values)

    def _one(self, which: ColumnElement[bool]) -> Stored | None:
        with self._reading() as connection:
            return next(iter(self._select(connection, which)), None)

    def _select(self, connection: Connection, which: ColumnElement[bool]) -> list[Stored]:
        rows = connection.execute(select(submissions).where(which).order_by(submissions.c.id))
        return [
            Stored(
                id=row.id,
                task_id=row.task_id,
                round=row.round,
                state=Verdict(row.state),
                status=row.status,
                reasons=tuple(row.reasons),
                header=Header.from_document(read_json(row.header)),
                signature=row.signature,
                ciphertext=row.ciphertext,
                wish=row.wish,
                received_at=row.received_at,
                receipt=row.receipt,
                attempts=row.attempts,
                token=row.token,
            )
            for row in rows
        ]


def _of(task_id: str, number: int) -> ColumnElement[bool]:
    return and_(submissions.c.task_id == task_id, submissions.c.round == number)
