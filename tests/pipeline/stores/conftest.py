import os
import uuid
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import text

from pipeline.stores.database import open_database
from pipeline.stores.runs import RunLedger

POSTGRES = os.environ.get("FLFLEET_TEST_POSTGRES_URL")


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request, tmp_path) -> Iterator[str]:
    """An empty ledger database: a file, or a schema of its own on the PostgreSQL that the environment names."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'ledger.sqlite'}"
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


@pytest.fixture
def open_ledger(ledger_url) -> Iterator[Callable[..., RunLedger]]:
    opened: list[RunLedger] = []

    def opener(**options) -> RunLedger:
        opened.append(RunLedger(open_database(ledger_url), **options))
        return opened[-1]

    yield opener
    for ledger in opened:
        ledger.close()


@pytest.fixture
def ledger(open_ledger) -> RunLedger:
    return open_ledger(max_attempts=3)
