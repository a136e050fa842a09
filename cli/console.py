"""What commands share in talking to a person: the consoles and the exit codes."""

from enum import IntEnum

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
