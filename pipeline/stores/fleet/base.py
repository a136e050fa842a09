"""What every part of the ledger of runs stands on: transactions, the clock, rows, the fence.

The ledger's clock judges leases and waits: on PostgreSQL the database's own; on SQLite, whose file serves one machine, the
kernel's monotonic clock, which all its processes share and nobody can set. After a reboot that clock starts anew: owners of
an earlier boot are gone by name, and a wait that lies too far ahead counts as over.
"""

import sqlite3
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy import (
    ClauseElement,
    ColumnElement,
    Connection,
    Double,
    Engine,
    Row,
    String,
    Update,
    bindparam,
    cast,
    exists,
    extract,
    func,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import InterfaceError, OperationalError

from pipeline.errors import Retryable
from pipeline.stores.db import schema
from pipeline.stores.db.engine import reading, transaction
from pipeline.stores.db.owners import is_gone
from pipeline.stores.db.session import Prepared, Session, quick_reading, quick_transaction
from pipeline.stores.fleet.records import Claim, Fenced, Stage, State
from pipeline.stores.fleet.tables import metadata, notes, runs, tasks
from pipeline.stores.fleet.tallies import LEASE_LOST, Tallies

STAGES: tuple[Stage, ...] = tuple(Stage)
#: The note that says: these bytes may have left. From then on only they are sent, and the run counts as a submission.
PAYLOAD = "payload"
#: An aggregator that holds our payload answers with its receipt after the deadline too; so long we ask for it.
RECEIPT_GRACE_SECONDS = 600.0
#: No wait is longer than this (a Retry-After is cut to it), so one that seems to be is of a clock before a reboot.
MAX_WAIT_SECONDS = 600.0
#: Any fixed number: PostgreSQL's advisory lock while runs are counted and added.
ADMISSION_LOCK = 7_301_002


#: PostgreSQL's clock, in Unix seconds.
DATABASE_CLOCK = cast(extract("epoch", func.clock_timestamp()), Double)
# Statements are built once: building takes longer than running them.
_ROW = select(runs, bindparam("now", type_=Double).label("now")).where(runs.c.run_id == bindparam("run_id"))
_LOCKED_ROW = select(runs, DATABASE_CLOCK.label("now")).where(runs.c.run_id == bindparam("run_id")).with_for_update()
_UNTOUCHED = update(runs).where(runs.c.run_id == bindparam("its_id"), runs.c.token == bindparam("its_token"))
_HELD = _UNTOUCHED.where(runs.c.state == State.RUNNING)


class LedgerBase:
    """One database of runs."""

    def __init__(self, engine: Engine, *, lease_seconds: float = 30.0, max_attempts: int = 5) -> None:
        """Makes the tables in an empty database. Raises Misconfigured where its schema does not fit this version."""
        self._engine = engine
        self._lease_seconds = lease_seconds
        self._max_attempts = max_attempts
        self._postgres = engine.dialect.name == "postgresql"
        document = select(tasks.c.document).where(tasks.c.task_hash == bindparam("its_hash", type_=String))
        self._document = Prepared(engine, document)
        with self._transaction() as db:
            schema.ready(db, metadata)

    @property
    def lease_seconds(self) -> float:
        """How long a claim lives without being renewed."""
        return self._lease_seconds

    def close(self) -> None:
        """Gives the connections back."""
        self._engine.dispose()

    @contextmanager
    def _transaction(self, *, durable: bool = False) -> Iterator[Connection]:
        with self._errors(), transaction(self._engine, durable=durable) as db:
            yield db

    @contextmanager
    def _quick(self, *, durable: bool = False) -> Iterator[Session]:
        """As `_transaction`, for prepared statements alone."""
        with self._errors(), quick_transaction(self._engine, durable=durable) as session:
            yield session

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Retryable for a database that does not answer: as SQLAlchemy says it, and as prepared statements' driver does."""
        try:
            yield
        except (OperationalError, InterfaceError) as error:
            raise Retryable(f"ledger: {error.orig}") from error
        except (sqlite3.OperationalError, sqlite3.InterfaceError) as error:
            raise Retryable(f"ledger: {error}") from error

    @contextmanager
    def _quick_reading(self) -> Iterator[Session]:
        """For one prepared statement that only reads: it sees one moment without a transaction."""
        with self._errors(), quick_reading(self._engine) as session:
            yield session

    def _session(self, db: Connection) -> Session:
        """What prepared statements of a transaction that has begun already run on."""
        driver: Any = db if self._postgres else db.connection.driver_connection
        return driver  # type: ignore[no-any-return]

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with self._errors(), reading(self._engine) as db:
            yield db

    def _row(self, db: Connection, run_id: str) -> Row[Any] | None:
        if self._postgres:
            return db.execute(_LOCKED_ROW, {"run_id": run_id}).one_or_none()
        return db.execute(_ROW, {"run_id": run_id, "now": time.monotonic()}).one_or_none()

    def _is_lost(self, row: Row[Any]) -> bool:
        return row.lease_until <= row.now or is_gone(row.owner)

    def _release(self, db: Connection, row: Row[Any], counted: Tallies) -> bool:
        """Takes a lost worker's claim back and counts it. False where that was the last attempt, or another one was faster."""
        attempts = row.attempts + 1
        reason = f"a worker ended without a word in stage {row.stage} ({row.owner.rpartition('|')[0]})"
        dead = attempts >= self._max_attempts
        values = {
            "state": State.DEAD if dead else State.QUEUED,
            "owner": None,
            "lease_until": None,
            "attempts": attempts,
            "driven_at": self._now(),
            "error": at_the_limit(attempts, row.stage, reason) if dead else reason,
            "updated_at": time.time(),
        }
        if self._update(db, row.run_id, row.token, values, _HELD) != 1:
            return False
        counted.add(LEASE_LOST, row.stage, "expired" if row.lease_until <= row.now else "process gone")
        return not dead

    def _fenced(self, db: Connection, claim: Claim, values: Mapping[str, Any]) -> None:
        if self._update(db, claim.run_id, claim.token, values, _HELD) != 1:
            raise Fenced(f"run {claim.run_id}: stage {claim.stage} is no longer this worker's (token {claim.token})")

    def _update(
        self, db: Connection, run_id: str, token: int, values: Mapping[str, Any], statement: Update | None = None
    ) -> int:
        """Updates the run, as long as nobody has touched it since. Returns how many rows that were."""
        expressions = {name: value for name, value in values.items() if isinstance(value, ClauseElement)}
        plain = {name: value for name, value in values.items() if name not in expressions}
        chosen = _UNTOUCHED if statement is None else statement
        # Plain values travel as parameters: the statement is built and compiled once.
        result = db.execute(
            chosen.values(expressions) if expressions else chosen, plain | {"its_id": run_id, "its_token": token}
        )
        return result.rowcount

    def _insert(self, table: Any) -> Any:
        """Both dialects' own inserts know ON CONFLICT, in the same words."""
        return postgresql.insert(table) if self._postgres else sqlite.insert(table)

    def _now(self) -> Any:
        """The ledger's clock, in seconds: an expression that the database evaluates, or a number."""
        return DATABASE_CLOCK if self._postgres else time.monotonic()

    def _clock(self, name: str) -> ColumnElement[float]:
        """The ledger's clock as a column."""
        return DATABASE_CLOCK.label(name) if self._postgres else literal(time.monotonic(), Double).label(name)

    def _unix(self, row: Row[Any]) -> float:
        return float(row.now) if self._postgres else time.time()

    def _lock(self, db: Session, number: int) -> None:
        if isinstance(db, Connection) and self._postgres:  # on SQLite the transaction itself is the lock
            db.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": number})


def noted(run_id: Any, name: str) -> ColumnElement[bool]:
    """Whether the run (an id, or a column of ids) has a note of this name."""
    return exists().where(notes.c.run_id == run_id, notes.c.name == name)


def first_unfinished(done: Collection[str]) -> Stage | None:
    """The stage that is due, None once all are done."""
    return next((stage for stage in STAGES if stage not in done), None)


def at_the_limit(attempts: int, stage: str, reason: str) -> str:
    """The sentence of a run that is dead."""
    return f"{attempts} attempts of stage {stage} ended without a result (FLFLEET_MAX_ATTEMPTS); last: {reason}"
