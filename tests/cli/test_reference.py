from pathlib import Path

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
