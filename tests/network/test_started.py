import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

from cli.ports import free_port
from tests.incident_server import server as server

ROOT = Path(__file__).parents[2]
SECRET = "ab" * 32
#: A backend with a bug that quotes a key, started as uvicorn starts it.
BUG = f"""
import sys, uvicorn
from network.backend import Backend
def broken(self):
    raise RuntimeError("cannot open the key {SECRET}")
Backend.open_tasks = broken
uvicorn.run("network.started:backend", factory=True, port=int(sys.argv[1]))
"""


@pytest.mark.services
def test_a_services_bug_is_a_line_of_json_and_is_told_without_any_key(server, tmp_path):
    dsn, received = server
    port = free_port()
    environment = {**os.environ, "FLFLEET_SENTRY_DSN": dsn, "FLFLEET_HOME": str(tmp_path / "home")}
    process = subprocess.Popen(
        [sys.executable, "-c", BUG, str(port)], stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment
    )
    try:
        assert _answer(f"http://127.0.0.1:{port}/tasks/open") == 500
        assert _arrives(lambda: any("RuntimeError" in text for text in received))
    finally:
        process.terminate()
        _, written = process.communicate(timeout=20)
    assert "cannot open the key [hex]" in "".join(received)
    assert SECRET not in "".join(received)
    lines = [json.loads(line) for line in written.splitlines() if line.startswith("{")]
    (told,) = [line for line in lines if line["level"] == "error"]
    assert "RuntimeError" in told["exception"]


def _answer(url: str) -> int:
    answers: list[int] = []

    def asked() -> bool:
        try:
            answers.append(requests.get(url, timeout=10).status_code)
        except requests.ConnectionError:
            return False
        return True

    assert _arrives(asked)
    return answers[0]


def _arrives(condition) -> bool:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.05)
    return False
