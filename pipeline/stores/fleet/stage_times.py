"""How long stages took, over all that was ever committed, without reading all of it at every look.

The outputs of a fleet's years are millions of rows, and a scraper looks every few seconds. What ended a while ago is added up once
and kept; a look reads what ended since.
"""

import math
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, case, func, select

from pipeline.stores.fleet.records import Stage
from pipeline.stores.fleet.tables import outputs, tallies
from pipeline.stores.fleet.tallies import BUCKETS, REDONE, UNBOUNDED

#: A commit carries its own host's time: one whose clock is less wrong than this is still counted at its turn.
SETTLE_SECONDS = 3600.0
_BOUNDS = [f"{bound:g}" for bound in BUCKETS] + [UNBOUNDED]


@dataclass(frozen=True, kw_only=True)
class StageTimes:
    """All that was ever committed of one stage."""

    count: int
    seconds: float
    #: Upper bound in seconds to the number of durations up to it, ascending; the last one is `+Inf`.
    buckets: Mapping[str, int]


class _Sums:
    """Durations of each stage, added up: how many are below each bound, and their seconds."""

    def __init__(self) -> None:
        self.below: defaultdict[str, list[int]] = defaultdict(lambda: [0] * len(_BOUNDS))
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def add(self, stage: str, below: Sequence[int], seconds: float) -> None:
        self.below[stage] = [old + int(new) for old, new in zip(self.below[stage], below, strict=True)]
        self.seconds[stage] += float(seconds)


class SettledTimes:
    """The times of one ledger's stages. One reader keeps one of these; it is not safe to use from two threads at once."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._settled, self._until = _Sums(), -math.inf
        self._replaced: list[tuple[Any, ...]] = []

    def look(self, db: Connection) -> dict[Stage, StageTimes]:
        """Every commit of each stage, those included whose result was replaced later: the numbers only grow."""
        replaced = db.execute(
            select(tallies).where(tallies.c.event == REDONE).order_by(tallies.c.stage, tallies.c.detail)
        ).all()
        if (known := [tuple(row) for row in replaced]) != self._replaced:
            # A row that was added up may be gone, and counted among those that were replaced: all is read again.
            self._settled, self._until, self._replaced = _Sums(), -math.inf, known
        horizon = self._clock() - SETTLE_SECONDS
        if horizon > self._until:
            _read(db, self._settled, outputs.c.finished_at >= self._until, outputs.c.finished_at < horizon)
            self._until = horizon
        sums = _Sums()
        for stage, below in self._settled.below.items():
            sums.add(stage, below, self._settled.seconds[stage])
        _read(db, sums, outputs.c.finished_at >= self._until)
        for row in replaced:
            _add_replaced(sums, row)
        return {
            Stage(stage): StageTimes(
                count=below[-1], seconds=sums.seconds[stage], buckets=dict(zip(_BOUNDS, below, strict=True))
            )
            for stage, below in sums.below.items()
        }


def _read(db: Connection, sums: _Sums, *which: ColumnElement[bool]) -> None:
    below = [func.sum(case((outputs.c.seconds <= bound, 1), else_=0)) for bound in BUCKETS]
    chosen = select(outputs.c.stage, func.sum(outputs.c.seconds), *below, func.count()).where(*which)
    for stage, seconds, *counts in db.execute(chosen.group_by(outputs.c.stage)):
        sums.add(stage, counts, seconds)


def _add_replaced(sums: _Sums, row: Row[Any]) -> None:
    count = row._mapping["count"]  # a row has a method of that name
    first = _BOUNDS.index(row.detail)
    sums.add(row.stage, [0] * first + [count] * (len(_BOUNDS) - first), row.seconds)
