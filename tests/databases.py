"""Empty databases for tests: a SQLite file, or a schema of its own on the PostgreSQL that FLFLEET_TEST_POSTGRES_URL names."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import Engine, text

from pipeline.stores.db.engine import open_database, transaction
from pipeline.stores.db.migrations import configuration

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


def fill_from_before_revisions(engine: Engine) -> str:
    """Makes the tables of the first schema, with one run, as a flfleet that knew no revisions left them. Returns the run's id."""
    run = "00000000-0000-5000-8000-000000000000"
    columns = (
        "run_id, task_hash, task_id, round, dataset, model_sha256, miner, miner_name, state, stage, token, driven_at, "
        "attempts, deadline, progress, created_at, updated_at"
    )
    values = (
        f"'{run}', '0x00', 'task_001', 1, 'mnist', '00', '0x11', 'ward-7', 'queued', 'train', 3, 0, 1, 9, '{{}}', 0, 0"
    )
    with transaction(engine) as db:
        command.upgrade(configuration(db), "0001")
        db.execute(text("INSERT INTO tasks VALUES ('0x00', 'task_001', 1, '{}', 0)"))
        db.execute(text(f"INSERT INTO runs ({columns}) VALUES ({values})"))
        for table in ("schema_revision", "schema_floor"):
            db.execute(text(f"DROP TABLE {table}"))
    return run
