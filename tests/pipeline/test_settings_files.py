from pathlib import Path

import pytest

from pipeline.errors import Misconfigured
from pipeline.settings import load


def secret(folder: Path, text: str | bytes) -> str:
    path = folder / "secret"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def test_a_text_lies_in_the_file_that_a_variable_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FLFLEET_BROKER_URL_FILE", secret(tmp_path, "redis://:word@redis:6379/0\n"))
    assert load().broker == "redis://:word@redis:6379/0"


def test_a_secret_may_lie_there_too_and_is_not_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FLFLEET_MINER_PRIVATE_KEY_FILE", secret(tmp_path, "11" * 32))
    settings = load()
    assert settings.miner_private_key is not None
    assert settings.miner_private_key.get_secret_value() == "11" * 32
    assert "1111" not in repr(settings)


def test_a_file_wins_over_fleet_toml(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").write_text('ledger_url = "sqlite:///one"\n')
    monkeypatch.setenv("FLFLEET_LEDGER_URL_FILE", secret(tmp_path, "sqlite:///two"))
    assert load(tmp_path).ledger == "sqlite:///two"


def test_a_variable_and_its_file_at_once_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FLFLEET_BROKER_URL", "redis://one")
    monkeypatch.setenv("FLFLEET_BROKER_URL_FILE", secret(tmp_path, "redis://two"))
    with pytest.raises(Misconfigured, match="FLFLEET_BROKER_URL and FLFLEET_BROKER_URL_FILE are both set"):
        load()


def test_a_file_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FLFLEET_BROKER_URL_FILE", str(tmp_path / "nowhere"))
    with pytest.raises(Misconfigured, match=r"FLFLEET_BROKER_URL_FILE: .*nowhere cannot be read"):
        load()


@pytest.mark.parametrize("content", [b"x" * 70_000, b"\xff\xfe"])
def test_a_file_that_cannot_be_meant_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes
) -> None:
    monkeypatch.setenv("FLFLEET_BROKER_URL_FILE", secret(tmp_path, content))
    with pytest.raises(Misconfigured, match="FLFLEET_BROKER_URL_FILE"):
        load()
