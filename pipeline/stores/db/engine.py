"""One way to open a ledger database: SQLite in WAL mode on one machine, PostgreSQL for a fleet."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry

from pipeline.errors import Misconfigured

#: How long a writer waits for another one's transaction; transactions here are a few milliseconds.
BUSY_SECONDS = 30
_READ_ONLY = "flfleet_read_only"


def open_database(url: str) -> Engine:
    """Opens (and for SQLite creates) the database. Raises Misconfigured for a URL that names none."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise Misconfigured(
            "FLFLEET_LEDGER_URL is not a database URL, e.g. postgresql+psycopg://user@host/flfleet"
        ) from None
    if not parsed.drivername.startswith("sqlite"):
        return create_engine(parsed, pool_pre_ping=True)
    if parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(parsed, connect_args={"timeout": BUSY_SECONDS})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_immediate)
    return engine


@contextmanager
def transaction(engine: Engine, *, durable: bool = False) -> Iterator[Connection]:
    """A transaction; a `durable` one is on the disk when it returns.

    SQLite in WAL mode with synchronous=NORMAL may lose its last commits with the power; `sync` brings them to the disk.
    PostgreSQL syncs at every commit.
    """
    with engine.connect() as connection:
        with connection.begin():
            yield connection
        if durable and engine.dialect.name == "sqlite":
            sync(connection.connection.driver_connection)


def sync(sqlite: Any) -> None:
    """Brings everything that is committed to the disk. `sqlite`: an open connection of the driver's. Raises OperationalError.

    synchronous=FULL would do the same inside the commit, with every other writer waiting for the disk too. Where a checkpoint
    comes between, it has synced the log before it moved it into the database, and the database after.
    """
    path = sqlite.execute("PRAGMA database_list").fetchone()[2]
    try:
        log = os.open(f"{path}-wal", os.O_RDONLY)
    except FileNotFoundError:
        return  # a file system without shared memory: no log, and every commit was synced (see `_prepare_sqlite`)
    try:
        os.fsync(log)
    except OSError as error:
        raise OperationalError("fsync of the log", None, error) from error
    finally:
        os.close(log)


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A consistent view that takes no writer's place, however long it is read."""
    with engine.connect().execution_options(**{_READ_ONLY: True}) as connection, connection.begin():
        yield connection


def _prepare_sqlite(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
    # The driver must not open transactions by itself: it would begin them as readers, and two readers that become writers
    # fail at once instead of waiting.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys=ON")
    if cursor.execute("PRAGMA journal_mode=WAL").fetchone()[0] == "wal":
        cursor.execute("PRAGMA synchronous=NORMAL")  # without a log FULL stays, SQLite's own
    cursor.close()


def _begin_immediate(connection: Connection) -> None:
    read_only = connection.get_execution_options().get(_READ_ONLY, False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")
