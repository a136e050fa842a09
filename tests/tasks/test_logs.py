import json
import logging

import pytest
import structlog

from pipeline.settings import current
from tasks.logs import configure


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
