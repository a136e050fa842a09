"""The few statements that every stage makes, compiled once and given to SQLite's driver as they are.

SQLAlchemy asks its caches anew at every execution and keeps books of every transaction; for statements that take SQLite some
microseconds that is most of their cost. PostgreSQL's way over the network is longer than that: there SQLAlchemy stays between.
"""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from sqlalchemy import JSON, Connection, Engine, event

from pipeline.stores.db.engine import reading, sync, transaction

#: What a prepared statement runs on.
Session = Connection | sqlite3.Connection
#: Connections of each engine that nobody uses now.
_FREE: WeakKeyDictionary[Engine, list[sqlite3.Connection]] = WeakKeyDictionary()


class Rows(Protocol):
    """What SQLite's cursor and SQLAlchemy's result have in common."""

    @property
    def rowcount(self) -> int:
        """Rows that a writing statement has changed."""

    def fetchone(self) -> Any:
        """The next row, None after the last."""

    def fetchall(self) -> Any:
        """All that are left."""


class Prepared:
    """A statement whose values are all parameters, for one engine."""

    def __init__(self, engine: Engine, statement: Any) -> None:
        """`statement`: of SQLAlchemy's core."""
        self._statement: Any = statement
        compiled = statement.compile(dialect=engine.dialect)
        self._text = str(compiled)
        self._order: tuple[str, ...] = tuple(compiled.positiontup or ())
        self._fixed: Mapping[str, Any] = compiled.params
        self._json = frozenset(name for name, bind in compiled.binds.items() if isinstance(bind.type, JSON))

    def run(self, session: Session, values: Mapping[str, Any]) -> Rows:
        """Runs it with these values by name; a name that the statement does not have is ignored."""
        if isinstance(session, sqlite3.Connection):
            return session.execute(self._text, [self._value(values, name) for name in self._order])
        return session.execute(self._statement, {name: values[name] for name in self._fixed if name in values})

    def _value(self, values: Mapping[str, Any], name: str) -> Any:
        value = values[name] if name in values else self._fixed[name]
        return json.dumps(value) if name in self._json else value


@contextmanager
def quick_transaction(engine: Engine, *, durable: bool = False) -> Iterator[Session]:
    """A writing transaction for prepared statements, as `database.transaction` is one for all others."""
    if engine.dialect.name != "sqlite":
        with transaction(engine, durable=durable) as connection:
            yield connection
        return
    with _Kept(engine) as driver:
        driver.execute("BEGIN IMMEDIATE")
        try:
            yield driver
            driver.commit()
        except BaseException:
            driver.rollback()
            raise
        if durable:
            sync(driver)


@contextmanager
def quick_reading(engine: Engine) -> Iterator[Session]:
    """For one prepared statement that only reads."""
    if engine.dialect.name != "sqlite":
        with reading(engine) as connection:
            yield connection
        return
    with _Kept(engine) as driver:
        yield driver


class _Kept:
    """A connection of SQLite's driver, kept until the engine is disposed of.

    The pool's own books (events, a reset, a record of every loan) cost as much as a claim's statements.
    """

    def __init__(self, engine: Engine) -> None:
        free = _FREE.get(engine)
        if free is None:
            free = _FREE[engine] = []
            event.listen(engine, "engine_disposed", _close)
        self._engine, self._free = engine, free

    def __enter__(self) -> sqlite3.Connection:
        try:
            self._driver: Any = self._free.pop()
        except IndexError:
            pooled = self._engine.raw_connection()
            self._driver = pooled.driver_connection
            pooled.detach()
        return self._driver  # type: ignore[no-any-return]

    def __exit__(self, kind: type[BaseException] | None, *_error: object) -> None:
        if kind is None:
            self._free.append(self._driver)
        else:  # what an error leaves it in is not worth finding out
            self._driver.close()


def _close(engine: Engine) -> None:
    free = _FREE[engine]
    while free:
        free.pop().close()
