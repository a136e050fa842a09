"""How often something went other than planned, counted in the ledger in the transaction in which it happened.

What went as planned is in the ledger anyway and costs nothing more. Counts only grow, over restarts and from all hosts: that
is what Prometheus takes a counter for.
"""

from bisect import bisect_left
from collections import defaultdict

from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite

from pipeline.stores.fleet.tables import tallies

#: An attempt that ended without a commit; a claim whose worker was lost; a run that the sweep sent on its way again; a
#: result that another one replaced.
FAILURE, LEASE_LOST, REDRIVEN, REDONE = "failure", "lease lost", "redriven", "redone"
#: Upper bounds, in seconds, of the histogram of durations: from a commit (milliseconds) to a long training.
BUCKETS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3600.0, 14400.0)
UNBOUNDED = "+Inf"


class Tallies:
    """Counts that one transaction collects and writes at its end.

    At its end, and in one order: a transaction that holds a count must not wait for a run that another one holds, while that
    waits for the count.
    """

    def __init__(self) -> None:
        self._counts: defaultdict[tuple[str, str, str], int] = defaultdict(int)
        self._seconds: defaultdict[tuple[str, str, str], float] = defaultdict(float)

    @classmethod
    def of(cls, event: str, stage: str, detail: str) -> "Tallies":
        """One count."""
        one = cls()
        one.add(event, stage, detail)
        return one

    def add(self, event: str, stage: str, detail: str, *, seconds: float = 0.0) -> None:
        """Counts one more."""
        self._counts[event, stage, detail] += 1
        self._seconds[event, stage, detail] += seconds

    def write(self, db: Connection) -> None:
        """Adds all of it to the ledger's counts."""
        dialect = postgresql if db.dialect.name == "postgresql" else sqlite
        for key in sorted(self._counts):
            event, stage, detail = key
            count, seconds = self._counts[key], self._seconds[key]
            row = {"event": event, "stage": stage, "detail": detail, "count": count, "seconds": seconds}
            more = {"count": tallies.c.count + count, "seconds": tallies.c.seconds + seconds}
            insert = dialect.insert(tallies).values(row)
            db.execute(insert.on_conflict_do_update(index_elements=["event", "stage", "detail"], set_=more))


def bucket_of(seconds: float) -> str:
    """The histogram's bucket of a duration, by its upper bound."""
    place = bisect_left(BUCKETS, seconds)
    return f"{BUCKETS[place]:g}" if place < len(BUCKETS) else UNBOUNDED
