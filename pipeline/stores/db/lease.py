"""Leases on rows of a party's ledger: one worker at a time, a dead one is replaced, a slow one cannot write any more."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Double, Integer, Table, Text, select

from pipeline.errors import FleetError, Retryable
from pipeline.stores.db.owners import is_gone, this_process


class LeaseLost(FleetError):
    """Another worker has taken the row over. Nothing was written."""


def lease_columns() -> list[Column[Any]]:
    """The columns of a table whose rows are leased."""
    return [
        # Grows with every claim; a write names the one that it was made under.
        Column("token", Integer, nullable=False, default=0),
        Column("owner", Text),
        Column("lease_until", Double),
        # Claims that ended without a word.
        Column("attempts", Integer, nullable=False, default=0),
    ]


def claim(connection: Connection, table: Table, which: ColumnElement[bool], seconds: float) -> int | None:
    """Leases the row to this process: its token, or None where it is not there or a live worker has it."""
    columns = (table.c.token, table.c.owner, table.c.lease_until, table.c.attempts)
    row = connection.execute(select(*columns).where(which)).one_or_none()
    if row is None:
        return None
    if row.owner is not None and row.lease_until > time.time() and not is_gone(row.owner):
        return None
    lease = {
        "token": row.token + 1,
        "owner": this_process(),
        "lease_until": time.time() + seconds,
        # An owner still written there never came back.
        "attempts": row.attempts + (row.owner is not None),
    }
    changed = connection.execute(table.update().where(which, table.c.token == row.token).values(lease))
    return int(row.token) + 1 if changed.rowcount == 1 else None


def write(connection: Connection, table: Table, which: ColumnElement[bool], token: int, values: dict[str, Any]) -> None:
    """Writes under a token. Raises LeaseLost."""
    if connection.execute(table.update().where(which, table.c.token == token).values(values)).rowcount != 1:
        raise LeaseLost(f"another worker has taken {table.name} over (token {token})")


@contextmanager
def renewed(renew: Callable[[], None], seconds: float) -> Iterator[None]:
    """Renews a lease of `seconds` from a thread while the block works; stops when it is lost (the next write says so)."""
    done = threading.Event()

    def keep() -> None:
        while not done.wait(seconds / 3):
            try:
                renew()
            except LeaseLost:
                return
            except Retryable:
                continue

    thread = threading.Thread(target=keep, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
