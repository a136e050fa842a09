"""A Celery worker whose clock is off: `python -m cli.chaos_clock FILE -A tasks.app worker ...`.

No host's clock is touched. Before anything else is imported, `time.time` of this process (and of the children that it forks)
becomes the true time plus the seconds that FILE holds, read anew every fifth of a second: as if somebody had set the clock.
The monotonic clock stays, as it does on a host whose clock is set.
"""

import contextlib
import sys
import time
from collections.abc import Callable
from pathlib import Path

_READ_EVERY_SECONDS = 0.2


def moved(file: Path, true: Callable[[], float]) -> Callable[[], float]:
    """A clock that is off from `true` by what the file says; a file that is not there or not whole changes nothing."""
    offset, next_look = 0.0, 0.0

    def now() -> float:
        nonlocal offset, next_look
        if time.monotonic() >= next_look:
            next_look = time.monotonic() + _READ_EVERY_SECONDS
            with contextlib.suppress(OSError, ValueError):
                offset = float(file.read_text())
        return true() + offset

    return now


def main() -> None:
    """Moves the clock, then is Celery's command with the arguments that are left."""
    clock = moved(Path(sys.argv[1]), time.time)
    time.time = clock
    time.time_ns = lambda: int(clock() * 1e9)
    from celery.__main__ import main as celery

    sys.argv = ["celery", *sys.argv[2:]]
    celery()


if __name__ == "__main__":
    main()
