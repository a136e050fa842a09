"""Which schema a ledger database has, and which this version of flfleet can work with.

A database holds the tables of every role; those of other roles stay empty. Two tables say what it is: `schema_revision` (alembic's)
holds its revision, `schema_floor` the oldest revision whose code still works with it. So a rolling upgrade goes on while it runs: a
migration that only adds leaves the floor where it was, and the old version's workers carry on over the new schema.
"""

from enum import StrEnum

from sqlalchemy import Column, Connection, MetaData, String, Table, inspect, select, text

from pipeline.errors import Misconfigured
from pipeline.stores.aggregator import tables as aggregator_tables
from pipeline.stores.aggregator import verdict_tables
from pipeline.stores.backend import tables as backend_tables
from pipeline.stores.fleet import tables as fleet_tables
from pipeline.stores.fleet import witness_tables
from pipeline.stores.publisher import tables as publisher_tables

#: The newest revision in pipeline/stores/db/migrations/versions; a fresh database gets it at once.
REVISION = "0006"
#: The oldest revision whose code works with a database of REVISION.
FLOOR = "0001"
REVISION_TABLE = "schema_revision"
#: Any fixed number: PostgreSQL's advisory lock while tables are made or changed. On SQLite the transaction itself is the lock.
_LOCK = 7_301_001

_own = MetaData()
_revision = Table(REVISION_TABLE, _own, Column("version_num", String(32), primary_key=True))
_floor = Table("schema_floor", _own, Column("revision", String(32), primary_key=True))
#: Everything that a ledger database holds, whatever its role.
METADATA: tuple[MetaData, ...] = (
    _own,
    fleet_tables.metadata,
    witness_tables.metadata,
    backend_tables.metadata,
    aggregator_tables.metadata,
    publisher_tables.metadata,
    verdict_tables.metadata,
)


class Fit(StrEnum):
    """How a database's schema stands to this version."""

    EMPTY = "empty"
    FITS = "fits"
    #: Made by this version's forerunners; `flfleet upgrade` mends it.
    OLDER = "older"
    #: Upgraded by a later version, which still lets this one work.
    NEWER = "newer"
    #: Upgraded by a later version, and no longer for this one.
    TOO_NEW = "too new"


def ready(connection: Connection, metadata: MetaData) -> None:
    """Makes the tables in an empty database; leaves every other one as it is. `metadata`: those that the caller is to use.

    Raises Misconfigured where this version must not touch it.
    """
    assert any(metadata is member for member in METADATA), "a table that schema.METADATA does not know"
    lock(connection)
    fit = fit_of(connection)
    if fit is Fit.EMPTY:
        for member in METADATA:
            member.create_all(connection)
        connection.execute(_revision.insert().values(version_num=REVISION))
        set_floor(connection, FLOOR)
        return
    refuse(connection, fit)


def refuse(connection: Connection, fit: Fit) -> None:
    """Raises Misconfigured, with what to do, for a database that this version must not touch."""
    if fit is Fit.OLDER:
        raise Misconfigured(
            f"the ledger's schema is {revision_of(connection) or 'without a revision'}, this flfleet needs {REVISION}; "
            "run: flfleet upgrade (safe while older workers run)"
        )
    if fit is Fit.TOO_NEW:
        raise Misconfigured(
            f"the ledger's schema is {revision_of(connection)}, and needs a flfleet of {floor_of(connection)} or later; "
            f"this one is of {REVISION}: install the newer version here too"
        )


def fit_of(connection: Connection) -> Fit:
    """How the database's schema stands to this version."""
    revision = revision_of(connection)
    if revision is None:
        names = {table.name for member in METADATA for table in member.tables.values()}
        return Fit.OLDER if names & set(inspect(connection).get_table_names()) else Fit.EMPTY
    if revision == REVISION:
        return Fit.FITS
    if revision < REVISION:
        return Fit.OLDER
    return Fit.NEWER if floor_of(connection) <= REVISION else Fit.TOO_NEW


def revision_of(connection: Connection) -> str | None:
    """The database's revision; None where it was never written."""
    if not inspect(connection).has_table(REVISION_TABLE):
        return None
    return connection.execute(select(_revision.c.version_num)).scalar_one_or_none()


def floor_of(connection: Connection) -> str:
    """The oldest revision whose code works with this database."""
    return str(connection.execute(select(_floor.c.revision)).scalar_one())


def set_floor(connection: Connection, revision: str) -> None:
    """Says which is the oldest revision whose code works with this database from now on."""
    connection.execute(_floor.delete())
    connection.execute(_floor.insert().values(revision=revision))


def lock(connection: Connection) -> None:
    """Keeps every other process from making or changing tables until the transaction ends."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _LOCK})
