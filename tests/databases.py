"""Empty databases for tests: a SQLite file, or a schema of its own on the PostgreSQL that FLFLEET_TEST_POSTGRES_URL names."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from pipeline.stores.database import open_database

POSTGRES = os.environ.get("FLFLEET_TEST_POSTGRES_URL")
KINDS = ["sqlite", "postgresql"]


@contextmanager
def empty_database(kind: str, folder: Path) -> Iterator[str]:
    """Its URL. Skips the test where no PostgreSQL is there."""
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'ledger.sqlite'}"
        return
    if not POSTGRES:
        pytest.skip("FLFLEET_TEST_POSTGRES_URL names no PostgreSQL")
    schema = f"test_{uuid.uuid4().hex}"
    engine = open_database(POSTGRES)
    with engine.begin() as db:
        db.execute(text(f"CREATE SCHEMA {schema}"))
    joint = "&" if "?" in POSTGRES else "?"
    yield f"{POSTGRES}{joint}options=-csearch_path%3D{schema}"
    with engine.begin() as db:
        db.execute(text(f"DROP SCHEMA {schema} CASCADE"))
    engine.dispose()


@pytest.fixture(params=KINDS)
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty ledger database of each kind."""
    with empty_database(request.param, tmp_path) as url:
        yield url
