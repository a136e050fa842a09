"""What the ledgers of backend, publisher and aggregator share: their tables are made once, a busy database is Retryable."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, MetaData
from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError

from pipeline.errors import Rejected, Retryable
from pipeline.stores.db import schema
from pipeline.stores.db.engine import reading, transaction


class Conflict(Rejected):
    """Something else is there already, for ever."""


class Taken(Retryable):
    """Another process wrote the same row at the same moment; reading again tells what is there."""


class PartyLedger:
    """A database of one party. Every public method of a subclass is one transaction."""

    def __init__(self, engine: Engine, metadata: MetaData) -> None:
        """Makes the tables in an empty database. Raises Misconfigured where its schema does not fit this version."""
        self._engine = engine
        with self._writing() as connection:
            schema.ready(connection, metadata)

    def close(self) -> None:
        """Gives the connections back."""
        self._engine.dispose()

    @contextmanager
    def _writing(self, *, durable: bool = False) -> Iterator[Connection]:
        try:
            with transaction(self._engine, durable=durable) as connection:
                yield connection
        except IntegrityError as error:
            raise Taken("the same was written at the same moment", retry_after=1.0) from error
        except (OperationalError, InterfaceError) as error:
            raise Retryable(f"ledger: {error.orig}") from error

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        try:
            with reading(self._engine) as connection:
                yield connection
        except (OperationalError, InterfaceError) as error:
            raise Retryable(f"ledger: {error.orig}") from error
