"""Logs: constant events plus fields; JSON outside a terminal."""

import logging
import logging.handlers
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog
from celery.app.trace import LOG_RECEIVED, LOG_SUCCESS

from pipeline.settings import current
from tasks.names import STAGE_TASKS


def configure(level: int = logging.INFO) -> None:
    """Sends structlog's and the libraries' logs through one handler on stderr."""
    terminal = sys.stderr.isatty()
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer()
    )
    rendering: tuple[structlog.typing.Processor, ...] = (structlog.processors.format_exc_info, renderer)
    structlog.configure(
        processors=[*shared, *rendering, _as_it_is],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        Formatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    for name in ("celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(name).addFilter(is_news)
    # What no line of ours shows is not looked up (Python's logging HOWTO, "Optimization"): the caller, thread and process.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None
    root = logging.getLogger()
    root.handlers = [handler]
    if (path := current().log_file) is not None:
        root.handlers.append(_file(current().path(path), handler.formatter))
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        # It brings handlers of its own, and they write plain text.
        logging.getLogger(name).handlers = []
        logging.getLogger(name).propagate = True


def _as_it_is(_logger: Any, _method: str, line: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """structlog's last step: the line as its formatter is to leave it."""
    return (line,), {"extra": {"rendered": True}}


class Formatter(structlog.stdlib.ProcessorFormatter):
    """Renders what libraries log. Our own lines come rendered: two a stage, and a second record for each costs as much again."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        return str(record.msg) if getattr(record, "rendered", False) else super().format(record)


def _file(path: Path, formatter: logging.Formatter | None) -> logging.Handler:
    """A file that many processes append to, line by line. Each opens it anew once another program has moved it away.

    The processes of a pool cannot turn it over themselves: each would move what the others still write to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.handlers.WatchedFileHandler(path)
    handler.setFormatter(formatter)
    return handler


def is_news(record: logging.LogRecord) -> bool:
    """Whether a line of Celery's says more than ours: a stage's own begin and commit stand in the log with run, miner and time."""
    if record.msg not in (LOG_RECEIVED, LOG_SUCCESS) or not isinstance(record.args, Mapping):
        return True
    return record.args.get("name") not in STAGE_TASKS
