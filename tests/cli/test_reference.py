import re
from pathlib import Path

import pytest
from typer.main import get_command

from cli.command_reference import commands_page, exits_page
from cli.console import Exit
from cli.main import app
from cli.reference import page
from pipeline.settings import MinerSettings, Settings

COMMITTED = Path(__file__).parents[2] / "docs" / "settings.md"


def test_the_committed_page_is_what_the_code_says() -> None:
    assert COMMITTED.read_text() == page(), "renew it: python -m cli.reference > docs/settings.md"


def test_every_setting_stands_on_the_page_with_its_variable() -> None:
    rows = [line for line in page().splitlines() if line.startswith("| `")]
    for name in Settings.model_fields:
        assert sum(f"`FLFLEET_{name.upper()}`" in row for row in rows) == 1, name


def test_every_member_of_a_miner_table_stands_on_the_page() -> None:
    miners = page().partition("## `[[miner]]`")[2]
    for name in MinerSettings.model_fields:
        assert f"| `{name}` |" in miners, name


def test_a_default_is_written_as_in_fleet_toml() -> None:
    assert "| `min_coordinates` | `FLFLEET_MIN_COORDINATES` | whole number | `1024` |" in page()
    assert '| `device` | `FLFLEET_DEVICE` | text | `"auto"` |' in page()
    assert "| `allow_unsigned_tasks` | `FLFLEET_ALLOW_UNSIGNED_TASKS` | true or false | `false` |" in page()


DOCS = COMMITTED.parent


def test_the_committed_page_of_commands_is_what_the_code_says() -> None:
    committed = (DOCS / "commands.md").read_text()
    assert committed == commands_page(), "renew it: python -m cli.reference commands > docs/commands.md"


def test_the_committed_page_of_exit_codes_is_what_the_code_says() -> None:
    committed = (DOCS / "exit-codes.md").read_text()
    assert committed == exits_page(), "renew it: python -m cli.reference exits > docs/exit-codes.md"


def test_every_exit_code_stands_on_its_page_with_its_meaning() -> None:
    rows = [line.split(" | ") for line in exits_page().splitlines() if re.match(r"\| \d", line)]
    assert [int(row[0].removeprefix("| ")) for row in rows] == [code.value for code in Exit]
    assert all(len(row[2]) > 5 for row in rows)


def test_every_command_stands_on_its_page() -> None:
    headings = re.findall(r"^## `flfleet ([\w -]+)`$", commands_page(), re.MULTILINE)
    assert {heading.split()[0] for heading in headings} == set(get_command(app).commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize("manual", sorted(DOCS.glob("*.md")), ids=lambda path: path.name)
def test_every_command_that_the_manual_names_is_there(manual: Path) -> None:
    known = set(get_command(app).commands)  # type: ignore[attr-defined]
    named = re.findall(r"(?:^ {4,}|`)flfleet ([a-z][\w-]*)", manual.read_text(), re.MULTILINE)
    assert set(named) <= known
