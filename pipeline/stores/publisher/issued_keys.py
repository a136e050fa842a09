"""The publisher's memory of function keys: one for every (taskID, round), for ever, over restarts."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, and_, exists, select

from pipeline.protocol.function_key import KeyRequest
from pipeline.stores.db import lease
from pipeline.stores.db.party_ledger import Conflict, PartyLedger, Taken
from pipeline.stores.publisher.tables import issued_keys, key_requests, metadata

#: A request whose work ends so often without a word (its worker is killed) is refused.
MAX_ATTEMPTS = 5


@dataclass(frozen=True, kw_only=True)
class IssuedKey:
    """The round's key."""

    request_hash: str
    #: Artifact digest of k_g, 32 bytes each.
    key: str
    signature: str


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A request that got no key."""

    #: HTTP status.
    status: int
    reasons: Sequence[str]
    #: Submission hashes whose masks are wrong.
    invalid: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class PendingRequest:
    """A request that is being worked on."""

    #: {request, signature} as JSON text.
    envelope: str
    token: int
    #: Claims of it that ended without a word.
    attempts: int


class IssuedLedger(PartyLedger):
    """Key requests by hash, keys by (taskID, round)."""

    def __init__(self, engine: Engine, *, lease_seconds: float = 30.0) -> None:
        super().__init__(engine, metadata)
        self.lease_seconds = lease_seconds

    def receive(self, request: KeyRequest) -> None:
        """Keeps a request, on disk when it returns. Raises Conflict where the round's key went to another one."""
        with self._writing(durable=True) as connection:
            issued = self._issued(connection, request.task_id, request.round)
            if issued is not None and issued.request_hash != request.request_hash:
                raise Conflict(f"the key of round {request.round} of {request.task_id} is issued, for another request")
            known = select(key_requests.c.request_hash).where(key_requests.c.request_hash == request.request_hash)
            if connection.execute(known).one_or_none() is not None:
                return
            connection.execute(
                key_requests.insert().values(
                    request_hash=request.request_hash,
                    task_id=request.task_id,
                    round=request.round,
                    envelope=json.dumps(request.envelope),
                    reasons=[],
                    invalid=[],
                    received_at=time.time(),
                )
            )

    def answer(self, request_hash: str) -> IssuedKey | Refusal | None:
        """What a request got, None while it is worked on."""
        with self._reading() as connection:
            row = connection.execute(
                select(key_requests).where(key_requests.c.request_hash == request_hash)
            ).one_or_none()
            if row is None:
                return None
            if row.status is not None:
                return Refusal(status=row.status, reasons=row.reasons, invalid=row.invalid)
            issued = self._issued(connection, row.task_id, row.round)
        return issued if issued is not None and issued.request_hash == request_hash else None

    def pending(self) -> list[str]:
        """Hashes of the requests without an answer, oldest first."""
        answered = exists().where(issued_keys.c.request_hash == key_requests.c.request_hash)
        # By round first, which is the primary key: an old ledger's keys are not all looked through for every request.
        its = and_(issued_keys.c.task_id == key_requests.c.task_id, issued_keys.c.round == key_requests.c.round)
        waiting = select(key_requests.c.request_hash).where(key_requests.c.status.is_(None), ~answered.where(its))
        with self._reading() as connection:
            return list(connection.execute(waiting.order_by(key_requests.c.received_at)).scalars())

    def claim(self, request_hash: str) -> PendingRequest | None:
        """Leases a request, or None: it has its answer, or a live worker has it."""
        if self.answer(request_hash) is not None:
            return None
        which = key_requests.c.request_hash == request_hash
        with self._writing() as connection:
            token = lease.claim(connection, key_requests, which, self.lease_seconds)
            if token is None:
                return None
            row = connection.execute(select(key_requests.c.envelope, key_requests.c.attempts).where(which)).one()
        return PendingRequest(envelope=row.envelope, token=token, attempts=row.attempts)

    def renew(self, request_hash: str, token: int) -> None:
        """Lengthens the lease. Raises LeaseLost."""
        self._write(request_hash, token, lease_until=time.time() + self.lease_seconds)

    def release(self, request_hash: str, token: int) -> None:
        """Gives the lease back without an answer. Raises LeaseLost."""
        self._write(request_hash, token, owner=None, lease_until=None)

    def issue(self, request: KeyRequest, token: int, *, key: str, signature: str) -> None:
        """Spends the round's one key on this request, on disk when it returns. Raises Conflict and LeaseLost."""
        which = key_requests.c.request_hash == request.request_hash
        try:
            with self._writing(durable=True) as connection:
                lease.write(connection, key_requests, which, token, {"owner": None, "lease_until": None})
                connection.execute(
                    issued_keys.insert().values(
                        task_id=request.task_id,
                        round=request.round,
                        request_hash=request.request_hash,
                        key=key,
                        signature=signature,
                        issued_at=time.time(),
                    )
                )
        except Taken:
            raise Conflict(f"the key of round {request.round} of {request.task_id} is issued already") from None

    def refuse(self, request_hash: str, token: int, refusal: Refusal) -> None:
        """Keeps a refusal; nothing is spent. Raises LeaseLost."""
        self._write(
            request_hash,
            token,
            status=refusal.status,
            reasons=list(refusal.reasons),
            invalid=list(refusal.invalid),
            owner=None,
            lease_until=None,
        )

    def _write(self, request_hash: str, token: int, **values: object) -> None:
        with self._writing(durable=True) as connection:
            lease.write(connection, key_requests, key_requests.c.request_hash == request_hash, token, values)

    def _issued(self, connection: Connection, task_id: str, number: int) -> IssuedKey | None:
        which = and_(issued_keys.c.task_id == task_id, issued_keys.c.round == number)
        row = connection.execute(select(issued_keys).where(which)).one_or_none()
        return None if row is None else IssuedKey(request_hash=row.request_hash, key=row.key, signature=row.signature)
