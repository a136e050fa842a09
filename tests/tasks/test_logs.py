import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from celery.app.trace import LOG_RECEIVED, LOG_SUCCESS

from tasks.logs import is_news

ROOT = Path(__file__).parents[2]
SCRIPT = """
import logging, structlog
from tasks.logs import configure
configure()
with structlog.contextvars.bound_contextvars(run="r-1", stage="train", miner="0xab"):
    structlog.get_logger("ours").info("stage begins", attempt=1)
    logging.getLogger("a.library").warning("disk %s is slow", "sda")
    logging.getLogger("uvicorn.error").info("Started server process")
    try:
        1 / 0
    except ZeroDivisionError:
        structlog.get_logger().exception("stage failed")
"""


def test_outside_a_terminal_every_line_is_json_with_what_was_bound_once():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, cwd=ROOT, timeout=60, check=True
    )
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["event"] for line in lines] == [
        "stage begins",
        "disk sda is slow",
        "Started server process",
        "stage failed",
    ]
    assert {(line["run"], line["stage"], line["miner"]) for line in lines} == {("r-1", "train", "0xab")}
    assert lines[0]["attempt"] == 1
    assert [line["level"] for line in lines] == ["info", "warning", "info", "error"]
    assert "ZeroDivisionError" in lines[3]["exception"]
    assert all(line["timestamp"].endswith("Z") for line in lines)


def line(message: str, *arguments: object) -> logging.LogRecord:
    return logging.LogRecord("celery.app.trace", logging.INFO, "", 0, message, arguments, None)


@pytest.mark.parametrize("message", [LOG_RECEIVED, LOG_SUCCESS])
def test_celerys_words_on_a_stage_that_goes_well_are_no_news(message):
    assert not is_news(line(message, {"name": "flfleet.train", "id": "1"}))
    assert is_news(line(message, {"name": "flfleet.poll", "id": "1"}))


def test_a_stage_that_fails_is_news():
    assert is_news(line("Task %(name)s[%(id)s] %(description)s: %(exc)s", {"name": "flfleet.train", "id": "1"}))
    assert is_news(line("without arguments"))


MOVED = """
import logging, pathlib, sys
from tasks.logs import configure
configure()
path, log = pathlib.Path(sys.argv[1]), logging.getLogger("flfleet.test")
log.warning("before")
path.rename(path.with_suffix(".log.1"))  # as logrotate does
log.warning("after")
"""


def test_a_log_file_that_was_moved_away_is_opened_anew(tmp_path):
    path = tmp_path / "logs/fleet.log"
    environment = {**os.environ, "FLFLEET_LOG_FILE": str(path)}
    # A process of its own: what `configure` sets holds for a process.
    command = [sys.executable, "-c", MOVED, str(path)]
    subprocess.run(command, capture_output=True, cwd=ROOT, env=environment, timeout=60, check=True)
    for name, event in (("fleet.log.1", "before"), ("fleet.log", "after")):
        (line,) = (tmp_path / "logs" / name).read_text().splitlines()
        assert json.loads(line)["event"] == event
