"""One foreground process each: what containers and units start."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

from cli.console import Exit
from cli.ports import free_port
from tests.commands import ROOT

COMMAND = [sys.executable, "-c", "from cli.main import main; main()"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)


def test_a_pool_that_does_not_exist_is_refused_with_those_that_do(tmp_path: Path) -> None:
    result = run("worker", "training", "--home", str(tmp_path))
    assert result.returncode == Exit.MISCONFIGURED
    assert "no pool 'training'; there are: fetch, data, train" in result.stderr


def test_a_wrong_setting_is_one_sentence_before_the_process_starts(tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").write_text('lease_seconds = "soon"\n')
    result = run("beat", "--home", str(tmp_path))
    assert result.returncode == Exit.MISCONFIGURED
    assert "lease_seconds" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.services
def test_a_service_runs_with_environment_only_and_ends_with_term(tmp_path: Path) -> None:
    port = free_port()
    settings = {"FLFLEET_HOME": str(tmp_path), "FLFLEET_ROLES": "backend", "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [*COMMAND, "serve", "backend", "--port", str(port)], env={**os.environ, **settings}, stderr=subprocess.PIPE
    ) as process:
        try:
            assert answer(f"http://127.0.0.1:{port}/tasks/open") == []
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=20)
    # uvicorn raises the signal again once it has closed its connections.
    assert process.returncode in (0, -signal.SIGTERM)


def answer(url: str) -> object:
    end = time.monotonic() + 40
    while True:
        try:
            return requests.get(url, timeout=5).json()
        except requests.ConnectionError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)
