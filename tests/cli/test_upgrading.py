import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.console import Exit
from cli.doctor import examine
from cli.main import app
from cli.upgrading import check_ledger, upgrade_own_ledger
from pipeline.errors import Misconfigured
from pipeline.settings import load
from pipeline.stores.db.engine import open_database
from pipeline.stores.db.schema import REVISION
from tests.databases import fill_from_before_revisions


def upgrade(home: Path, *options: str) -> tuple[int, dict[str, object]]:
    result = CliRunner().invoke(app, ["upgrade", "--home", str(home), "--json", *options])
    return result.exit_code, json.loads(result.stdout)


def make_old(home: Path) -> None:
    """A ledger from before revisions."""
    engine = open_database(load(home).ledger)
    fill_from_before_revisions(engine)
    engine.dispose()


def test_an_old_ledger_is_found_by_check_and_mended_by_upgrade(tmp_path: Path) -> None:
    make_old(tmp_path)
    assert upgrade(tmp_path, "--check") == (Exit.FAILED, {"found": "older", "revision": REVISION, "fits": False})
    assert upgrade(tmp_path)[0] == Exit.OK
    assert upgrade(tmp_path, "--check") == (Exit.OK, {"found": "fits", "revision": REVISION, "fits": True})


def test_a_process_refuses_to_start_on_a_ledger_that_is_not_upgraded(tmp_path: Path) -> None:
    make_old(tmp_path)
    with pytest.raises(Misconfigured, match="flfleet upgrade"):
        check_ledger(load(tmp_path))


def test_a_ledger_that_does_not_answer_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLFLEET_LEDGER_URL", "postgresql+psycopg://nobody@127.0.0.1:1/none")
    check_ledger(load())


def test_a_fleet_of_one_machine_upgrades_its_own_ledger(tmp_path: Path) -> None:
    make_old(tmp_path)
    upgrade_own_ledger(load(tmp_path))
    check_ledger(load(tmp_path))


def test_a_shared_ledger_is_left_to_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    make_old(tmp_path)
    monkeypatch.setenv("FLFLEET_LEDGER_URL", load(tmp_path).ledger)
    with pytest.raises(Misconfigured, match="flfleet upgrade"):
        upgrade_own_ledger(load(tmp_path))


def test_doctor_finds_a_ledger_that_is_not_upgraded(tmp_path: Path) -> None:
    make_old(tmp_path)
    wrong = {finding.subject: finding.text for finding in examine(tmp_path) if finding.verdict == "wrong"}
    assert "flfleet upgrade" in wrong["ledger"]
