from pathlib import Path

import pytest

from pipeline.errors import Misconfigured
from pipeline.settings import load


def test_the_environment_wins_over_fleet_toml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fleet.toml").write_text('backend_url = "http://file"\nmin_coordinates = 7\n')
    monkeypatch.setenv("FLFLEET_BACKEND_URL", "http://environment")
    settings = load(tmp_path)
    assert (settings.backend_url, settings.min_coordinates) == ("http://environment", 7)


def test_lists_are_written_with_commas_in_the_environment_and_addresses_are_lower_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLFLEET_KNOWN_MINERS", "0xAB, 0xcd")
    assert load(tmp_path).known_miners == ["0xab", "0xcd"]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("min_coordinates = 0", "min_coordinates"),
        ("lease = 3", "lease"),
        ("poll_seconds = ", "not valid TOML"),
        ('[[miner]]\nname = "a"\nkee = "b"', "kee"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, text: str, names: str) -> None:
    (tmp_path / "fleet.toml").write_text(text)
    with pytest.raises(Misconfigured, match=names):
        load(tmp_path)


def test_the_secret_key_of_the_environment_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLFLEET_MINER_PRIVATE_KEY", "11" * 32)
    assert "1111" not in repr(load(tmp_path))
