"""What commands share in talking to a person: the consoles and the exit codes."""

import sys
from enum import IntEnum
from typing import Any

from rich.console import Console

#: Results go to stdout, everything else to stderr, so that `--json` can be piped.
OUT = Console(highlight=False)
ERR = Console(stderr=True, highlight=False)


class Exit(IntEnum):
    """Exit codes of every command."""

    OK = 0
    #: What was asked for did not come true: a demo that failed, a doctor that found something.
    FAILED = 1
    #: A setting, file or option that the operator has to mend; the message says which.
    MISCONFIGURED = 2
    #: Another party, the broker or the ledger did not answer; try again.
    UNAVAILABLE = 3
    #: Ctrl-C.
    INTERRUPTED = 130


def log_to_stderr() -> None:
    """Sends log lines to stderr, whatever that is when a line is written: nothing but results belongs on stdout."""
    import structlog  # not for every command

    def logger(*_args: Any) -> structlog.PrintLogger:
        return structlog.PrintLogger(sys.stderr)

    # All of it, not the factory alone: another entry point of this process may have set processors made for another kind of logger.
    structlog.reset_defaults()
    structlog.configure(logger_factory=logger)
