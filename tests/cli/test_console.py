import io
import sys

import structlog

from cli.console import log_to_stderr


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


def test_a_line_is_written_also_where_the_workers_logs_were_set_up_before(monkeypatch, capsys):
    structlog.configure(
        processors=[structlog.stdlib.add_log_level, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    log_to_stderr()
    structlog.get_logger().warning("broker away", reason="refused")
    assert "broker away" in capsys.readouterr().err
