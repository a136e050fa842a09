"""The ledger's schema: revisions, upgrades of databases that hold rows, and what a version refuses."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, text

from pipeline.errors import Misconfigured
from pipeline.stores.backend.tasks import Board
from pipeline.stores.db import schema
from pipeline.stores.db.engine import open_database
from pipeline.stores.db.migrations import configuration, state_of, upgrade
from pipeline.stores.db.schema import Fit
from pipeline.stores.fleet.ledger import RunLedger
from tests.databases import fill_from_before_revisions
from tests.databases import ledger_url as ledger_url
from tests.signed_tasks import MINERS, make_task


@pytest.fixture
def engine(ledger_url: str) -> Iterator[Engine]:
    engine = open_database(ledger_url)
    yield engine
    engine.dispose()


def differences(engine: Engine) -> list[object]:
    """What alembic would change to come from the database to the tables in the code."""
    options = {"compare_type": True, "version_table": schema.REVISION_TABLE}
    with engine.connect() as connection:
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), list(schema.METADATA)))


def say(engine: Engine, revision: str, floor: str) -> None:
    with engine.begin() as db:
        db.execute(text("UPDATE schema_revision SET version_num = :revision"), {"revision": revision})
        db.execute(text("UPDATE schema_floor SET revision = :floor"), {"floor": floor})


def test_the_revision_in_the_code_is_the_newest_migration() -> None:
    scripts = ScriptDirectory.from_config(configuration())
    assert scripts.get_current_head() == schema.REVISION
    head = scripts.get_revision(schema.REVISION)
    assert head is not None
    assert head.module.floor == schema.FLOOR


def test_revisions_are_ordered_by_their_names() -> None:
    scripts = ScriptDirectory.from_config(configuration())
    names = [script.revision for script in scripts.walk_revisions()]
    assert names == sorted(names, reverse=True)


def test_all_migrations_together_make_the_tables_of_the_code(engine: Engine) -> None:
    assert upgrade(engine) is Fit.EMPTY
    assert differences(engine) == []
    assert state_of(engine) is Fit.FITS


def test_a_fresh_database_gets_the_tables_of_the_code_and_the_newest_revision(engine: Engine) -> None:
    RunLedger(engine)
    assert differences(engine) == []
    assert state_of(engine) is Fit.FITS


def test_every_role_finds_its_tables_whoever_came_first(engine: Engine) -> None:
    RunLedger(engine)
    assert Board(engine).open_tasks(0) == []


def test_a_database_from_before_revisions_is_refused_until_it_is_upgraded_and_keeps_its_rows(engine: Engine) -> None:
    run_id = fill_from_before_revisions(engine)
    with pytest.raises(Misconfigured, match="run: flfleet upgrade"):
        RunLedger(engine)
    assert upgrade(engine) is Fit.OLDER
    assert differences(engine) == []
    run = RunLedger(engine).run(run_id)
    assert (run.miner_name, run.state, run.attempts) == ("ward-7", "queued", 1)


def test_tables_that_an_old_database_lacks_are_made(engine: Engine) -> None:
    fill_from_before_revisions(engine)
    with engine.begin() as db:
        db.execute(text("DROP TABLE board_tasks"))
    upgrade(engine)
    assert differences(engine) == []


def test_an_upgrade_twice_changes_nothing(engine: Engine) -> None:
    upgrade(engine)
    assert upgrade(engine) is Fit.FITS


def test_the_version_before_works_on_over_a_schema_that_only_grew(engine: Engine) -> None:
    ledger = RunLedger(engine)
    with engine.begin() as db:
        db.execute(text("ALTER TABLE runs ADD COLUMN colour TEXT"))
    say(engine, "9999", schema.REVISION)
    assert state_of(engine) is Fit.NEWER
    run_id = RunLedger(engine).add_run(make_task(), MINERS[0].address, "ward-7")
    assert run_id is not None
    assert ledger.run(run_id).state == "queued"


def test_a_schema_that_lost_what_this_version_reads_is_refused(engine: Engine) -> None:
    RunLedger(engine)
    say(engine, "9999", "9998")
    for touch in (RunLedger, upgrade):
        with pytest.raises(Misconfigured, match="9999, and needs a flfleet of 9998 or later"):
            touch(engine)


def test_a_failed_upgrade_leaves_the_database_as_it_was(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_from_before_revisions(engine)

    def fails(*_arguments: object) -> None:
        raise RuntimeError("the machine stops here")

    monkeypatch.setattr(schema, "set_floor", fails)
    with pytest.raises(RuntimeError):
        upgrade(engine)
    assert state_of(engine) is Fit.OLDER


def test_a_table_that_no_migration_can_know_is_found_at_once(engine: Engine, tmp_path: Path) -> None:
    from sqlalchemy import MetaData

    with engine.begin() as db, pytest.raises(AssertionError, match="does not know"):
        schema.ready(db, MetaData())
