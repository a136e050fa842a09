import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
import structlog
from celery.app.trace import LOG_RECEIVED, LOG_SUCCESS

from pipeline.settings import current
from tasks.logs import configure, is_news

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


@pytest.fixture
def root_as_it_was():
    root = logging.getLogger()
    before = (root.handlers, root.level)
    yield
    for handler in root.handlers:
        if handler not in before[0]:
            handler.close()
    root.handlers, root.level = before
    structlog.reset_defaults()


def test_a_log_file_that_was_moved_away_is_opened_anew(root_as_it_was, monkeypatch, tmp_path):
    monkeypatch.setenv("FLFLEET_LOG_FILE", str(tmp_path / "logs/fleet.log"))
    current.cache_clear()
    configure()
    log = logging.getLogger("flfleet.test")
    log.warning("before")
    (tmp_path / "logs/fleet.log").rename(tmp_path / "logs/fleet.log.1")  # as logrotate does
    log.warning("after")
    for name, event in (("fleet.log.1", "before"), ("fleet.log", "after")):
        (line,) = (tmp_path / "logs" / name).read_text().splitlines()
        assert json.loads(line)["event"] == event
