"""Upgrades of a ledger database: `upgrade` runs those that it lacks, in one transaction.

Expand, then contract. A migration of a release adds only (a table, a nullable column, an index), so that workers of the release
before work on over it. What a release no longer reads goes a release later, by a migration that raises the floor.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import InterfaceError, OperationalError

from pipeline.errors import Retryable
from pipeline.stores.db import schema
from pipeline.stores.db.engine import reading, transaction
from pipeline.stores.db.schema import Fit


def configuration(connection: Connection | None = None) -> Config:
    """Alembic's configuration over this folder, and over a connection whose transaction is the caller's."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def state_of(engine: Engine) -> Fit:
    """How the database's schema stands to this version. Raises Retryable where it does not answer."""
    try:
        with reading(engine) as connection:
            return schema.fit_of(connection)
    except (OperationalError, InterfaceError) as error:
        raise Retryable(f"ledger: {error.orig}") from error


def upgrade(engine: Engine) -> Fit:
    """Brings the database to this version's schema; returns how it stood before. The same again changes nothing.

    Raises Misconfigured where it is too new for this version, Retryable where it does not answer.
    """
    try:
        with transaction(engine, durable=True) as connection:
            schema.lock(connection)
            before = schema.fit_of(connection)
            if before in (Fit.EMPTY, Fit.OLDER):
                command.upgrade(configuration(connection), "head")
            elif before is Fit.TOO_NEW:
                schema.refuse(connection, before)
            return before
    except (OperationalError, InterfaceError) as error:
        raise Retryable(f"ledger: {error.orig}") from error
