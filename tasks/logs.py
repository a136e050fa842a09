"""Logs: constant events plus fields; JSON outside a terminal."""

import logging
import logging.handlers
import sys
from pathlib import Path

import structlog

from pipeline.settings import current


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
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    if (path := current().log_file) is not None:
        root.handlers.append(_file(current().path(path), handler.formatter))
    root.setLevel(level)


def _file(path: Path, formatter: logging.Formatter | None) -> logging.Handler:
    """A file that many processes append to, line by line. Each opens it anew once another program has moved it away.

    The processes of a pool cannot turn it over themselves: each would move what the others still write to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.handlers.WatchedFileHandler(path)
    handler.setFormatter(formatter)
    return handler
