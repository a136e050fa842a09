"""A handler waits for a worker's answer in the ledger, holding no thread and no connection meanwhile."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

import structlog
from kombu.exceptions import OperationalError
from starlette.concurrency import run_in_threadpool

#: Below the 30 s that clients wait for an answer.
WAIT_SECONDS = 25.0
_FIRST, _LONGEST = 0.02, 0.5
T = TypeVar("T")
_log = structlog.get_logger()


async def answer_of(read: Callable[[], T | None], seconds: float = WAIT_SECONDS) -> T | None:
    """Reads until there is an answer; None when time is up: the client then asks again."""
    end, pause = time.monotonic() + seconds, _FIRST
    while True:
        found = await run_in_threadpool(read)
        if found is not None or time.monotonic() + pause > end:
            return found
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, _LONGEST)


def hint(send: Callable[[], object]) -> None:
    """Tells the workers that there is work. A broker that is away is no error: beat looks into the ledger too."""
    try:
        send()
    except OperationalError as error:
        _log.warning("broker away, the next tick takes the work", error=str(error))
