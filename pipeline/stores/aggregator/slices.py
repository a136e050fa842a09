"""The slices of a large round's sum, in the aggregator's ledger: who works on which, and what is done."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Engine, Row, and_, select

from pipeline.stores.aggregator.tables import metadata, round_slices
from pipeline.stores.db import lease
from pipeline.stores.db.owners import is_gone
from pipeline.stores.db.party_ledger import PartyLedger


@dataclass(frozen=True, kw_only=True)
class Slice:
    """Consecutive groups of a round whose sum is, or will be, one worker's work."""

    request_hash: str
    index: int
    groups: range
    #: Digests of X (int64 little-endian) and of the M_g; None until it is done.
    aggregate: str | None
    mask_sums: str | None
    #: Numbers of groups, counted over the whole round.
    dropped: list[int]
    #: Why it waits.
    reason: str | None
    token: int
    #: Claims that ended without a word.
    attempts: int
    #: Whether a worker that may still live has it.
    is_taken: bool

    @property
    def is_done(self) -> bool:
        """Whether its result is there."""
        return self.aggregate is not None


class SliceLedger(PartyLedger):
    """Slices by (request, index)."""

    def __init__(self, engine: Engine, *, lease_seconds: float = 30.0) -> None:
        super().__init__(engine, metadata)
        self.lease_seconds = lease_seconds

    def plan(self, task_id: str, number: int, request_hash: str, pieces: Sequence[range]) -> list[Slice]:
        """Writes the slices of a request down, once: a later plan, after another setting perhaps, changes nothing."""
        with self._writing(durable=True) as connection:
            known = connection.execute(select(round_slices.c.number).where(_of(request_hash)).limit(1)).first()
            if known is None:
                rows = [
                    {
                        "request_hash": request_hash,
                        "number": index,
                        "task_id": task_id,
                        "round": number,
                        "first_group": piece.start,
                        "groups": len(piece),
                    }
                    for index, piece in enumerate(pieces)
                ]
                connection.execute(round_slices.insert(), rows)
        return self.all(request_hash)

    def all(self, request_hash: str) -> list[Slice]:
        """The slices of a request, in order; none where it was not cut."""
        rows = select(round_slices).where(_of(request_hash)).order_by(round_slices.c.number)
        with self._reading() as connection:
            return [_slice(row) for row in connection.execute(rows)]

    def claim(self, request_hash: str, index: int) -> Slice | None:
        """Leases a slice that is not done, or None: it is, or a live worker has it."""
        which = and_(_is(request_hash, index), round_slices.c.aggregate.is_(None))
        with self._writing() as connection:
            if lease.claim(connection, round_slices, which, self.lease_seconds) is None:
                return None
            return _slice(connection.execute(select(round_slices).where(which)).one())

    def renew(self, one: Slice) -> None:
        """Lengthens the lease. Raises LeaseLost."""
        self._write(one, {"lease_until": time.time() + self.lease_seconds})

    def release(self, one: Slice, *, reason: str) -> None:
        """Gives the lease back; `reason` says why the slice waits. Raises LeaseLost."""
        self._write(one, {"owner": None, "lease_until": None, "attempts": 0, "reason": reason})

    def give_up(self, one: Slice, *, reason: str) -> None:
        """Gives the lease back and keeps the count of attempts: nobody takes the slice again. Raises LeaseLost."""
        self._write(one, {"owner": None, "lease_until": None, "reason": reason})

    def finish(self, one: Slice, *, aggregate: str, mask_sums: str, dropped: Sequence[int]) -> bool:
        """Writes a slice's result down; True where it was the last one of its round. Raises LeaseLost."""
        values = {
            "owner": None,
            "lease_until": None,
            "reason": None,
            "aggregate": aggregate,
            "mask_sums": mask_sums,
            "dropped": list(dropped),
        }
        with self._writing(durable=True) as connection:
            lease.write(connection, round_slices, _is(one.request_hash, one.index), one.token, values)
            open_ = select(round_slices.c.number).where(_of(one.request_hash), round_slices.c.aggregate.is_(None))
            return connection.execute(open_.limit(1)).first() is None

    def forget(self, one: Slice) -> None:
        """Makes a slice due again whose result is damaged."""
        cleared = {"aggregate": None, "mask_sums": None, "dropped": None, "reason": "its result was damaged"}
        with self._writing(durable=True) as connection:
            connection.execute(
                round_slices.update()
                .where(_is(one.request_hash, one.index), round_slices.c.aggregate == one.aggregate)
                .values(cleared)
            )

    def _write(self, one: Slice, values: dict[str, Any]) -> None:
        with self._writing() as connection:
            lease.write(connection, round_slices, _is(one.request_hash, one.index), one.token, values)


def _slice(row: Row[Any]) -> Slice:
    return Slice(
        request_hash=row.request_hash,
        index=row.number,
        groups=range(row.first_group, row.first_group + row.groups),
        aggregate=row.aggregate,
        mask_sums=row.mask_sums,
        dropped=list(row.dropped or ()),
        reason=row.reason,
        token=row.token,
        attempts=row.attempts,
        is_taken=row.owner is not None and row.lease_until > time.time() and not is_gone(row.owner),
    )


def _of(request_hash: str) -> ColumnElement[bool]:
    return round_slices.c.request_hash == request_hash


def _is(request_hash: str, index: int) -> ColumnElement[bool]:
    return and_(_of(request_hash), round_slices.c.number == index)
