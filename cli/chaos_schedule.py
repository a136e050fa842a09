"""What happens when: a pure function of the seed and the length, so that a run can be repeated."""

import math
import random
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """The faults, by the names of the report."""

    CHILD = "pool child killed"
    WORKER = "worker killed"
    ALL_WORKERS = "all workers killed"
    STOPPED = "idle worker stopped, then killed"
    BROKER_SHORT = "broker killed, 3 s away"
    BROKER_LONG = "broker killed, 40 s away"
    BROKER_WIPED = "broker killed, its data wiped"
    BACKEND = "backend restarted"
    AGGREGATOR = "aggregator restarted"
    PUBLISHER = "publisher restarted"
    UNAVAILABLE = "aggregator answers 503"
    TOO_MANY = "aggregator answers 429"
    RESET = "aggregator stores, then resets"
    LATE = "aggregator answers too late"
    DISK_FULL = "artifact disk full"
    TRUNCATED = "artifact truncated"
    FLIPPED = "artifact with a flipped byte"
    CLOCK = "clock off by minutes"
    DEPLOY = "SIGTERM deploy"


#: Seconds between two faults of a kind, about; every kind comes once at least.
_EVERY = {
    Kind.CHILD: 6,
    Kind.WORKER: 12,
    Kind.STOPPED: 60,
    Kind.BROKER_SHORT: 60,
    Kind.UNAVAILABLE: 60,
    Kind.RESET: 40,
    Kind.LATE: 60,
    Kind.TRUNCATED: 40,
    Kind.FLIPPED: 40,
    Kind.AGGREGATOR: 60,
}
_SELDOM_SECONDS = 120
#: The long outage is for runs of which it is not most.
LONG_OUTAGE_SECONDS, _LEAST_FOR_LONG_OUTAGE = 40.0, 90.0


@dataclass(frozen=True, kw_only=True, order=True)
class Fault:
    """One fault."""

    #: Seconds after the start.
    at: float
    kind: Kind
    #: What else is random about it: which of the workers, which byte.
    seed: int


def schedule(seed: int, seconds: float) -> list[Fault]:
    """The faults of a run, in order. Times are uniform over the length; a long outage lies in the first half."""
    chance = random.Random(seed)
    faults = []
    for kind in Kind:
        if kind is Kind.BROKER_LONG and seconds < _LEAST_FOR_LONG_OUTAGE:
            continue
        for _ in range(math.ceil(seconds / _EVERY.get(kind, _SELDOM_SECONDS))):
            span = seconds - LONG_OUTAGE_SECONDS if kind is Kind.BROKER_LONG else seconds
            faults.append(Fault(at=chance.uniform(0, span), kind=kind, seed=chance.getrandbits(32)))
    return sorted(faults)
