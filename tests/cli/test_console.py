import io
import sys

import pytest
import structlog

from cli.console import log_to_stderr


@pytest.fixture(autouse=True)
def own_configuration():
    yield
    structlog.reset_defaults()


def test_a_line_goes_to_what_is_stderr_when_it_is_written(monkeypatch, capsys):
    closed = io.StringIO()
    monkeypatch.setattr(sys, "stderr", closed)
    log_to_stderr()
    later = io.StringIO()
    monkeypatch.setattr(sys, "stderr", later)
    closed.close()
    structlog.get_logger().info("compiling", seconds=3)
    assert "compiling" in later.getvalue()
    assert capsys.readouterr().out == ""
