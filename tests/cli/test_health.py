import os
import socket
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from cli.console import Exit
from cli.main import app
from pipeline.stores.heartbeats import heartbeat_age, heartbeat_file
from tests.cli.test_main import ROOT, flfleet


def health(*arguments: object) -> int:
    return CliRunner().invoke(app, ["health", *map(str, arguments)]).exit_code


@pytest.fixture
def beating(tmp_path):
    """Sets the age of a role's heartbeat."""

    def set_age(role: str, seconds: float) -> None:
        path = heartbeat_file(tmp_path, role)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, (time.time() - seconds,) * 2)

    return set_age


def test_a_loop_that_went_round_lately_is_alive(tmp_path, beating):
    beating("worker-train", 5)
    assert health("live", "--role", "worker:train", "--home", tmp_path) == Exit.OK


def test_one_that_stands_or_never_began_is_not(tmp_path, beating):
    beating("worker-train", 500)
    assert health("live", "--role", "worker:train", "--home", tmp_path) == Exit.FAILED
    assert health("live", "--role", "worker:train", "--max-age", 600, "--home", tmp_path) == Exit.OK
    assert health("live", "--role", "beat", "--home", tmp_path) == Exit.FAILED


def test_without_a_role_all_of_this_host_are_asked(tmp_path, beating):
    assert health("live", "--home", tmp_path) == Exit.FAILED
    beating("beat", 1)
    beating("worker-submit", 1)
    assert health("live", "--home", tmp_path) == Exit.OK
    beating("worker-submit", 500)
    assert health("live", "--home", tmp_path) == Exit.FAILED


def test_another_hosts_heartbeat_in_a_shared_home_is_not_ours(tmp_path, beating, monkeypatch):
    beating("beat", 1)
    monkeypatch.setattr(socket, "gethostname", lambda: "another")
    assert health("live", "--role", "beat", "--home", tmp_path) == Exit.FAILED


@pytest.mark.parametrize("role", ["train", "worker:", "worker:../x", "flower"])
def test_an_unknown_role_is_the_operators_mistake(tmp_path, role):
    done = flfleet("health", "live", "--role", role, "--home", str(tmp_path))
    assert done.returncode == Exit.MISCONFIGURED
    assert "worker:train" in done.stderr


def test_a_broker_and_a_ledger_that_are_away_are_not_ready(tmp_path, monkeypatch):
    monkeypatch.setenv("FLFLEET_BROKER_URL", "redis://:secret@127.0.0.1:1/0")
    done = flfleet("health", "ready", "--home", str(tmp_path))
    assert done.returncode == Exit.UNAVAILABLE
    assert "broker 127.0.0.1:1/0 does not answer" in done.stderr
    assert "ledger" in done.stderr
    assert "secret" not in done.stderr


def test_a_probe_of_liveness_needs_neither_settings_nor_anything_heavy(tmp_path, beating):
    beating("beat", 1)
    (tmp_path / "fleet.toml").write_text("no toml at all")
    code = (
        "import sys; from cli.main import main\n"
        "try: main()\n"
        "finally: print(*sorted({'torch', 'celery', 'kombu', 'sqlalchemy', 'numpy', 'fastapi'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, "health", "live", "--role", "beat", "--home", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)
    assert done.returncode == Exit.OK, done.stderr
    assert done.stdout.split() == []


def test_a_heartbeat_from_the_future_is_young(tmp_path, beating):
    beating("beat", -100)
    assert heartbeat_age(heartbeat_file(tmp_path, "beat")) == 0
