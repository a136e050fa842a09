"""Timing: the least processor time of a few runs. Whoever else uses the machine adds to it, and never takes away."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import structlog


def least(work: Callable[[], Any], runs: int = 3) -> float:
    """Processor seconds (all threads together, so: of one core) of the fastest of `runs` runs, after one to warm up."""
    work()
    seconds = []
    for _ in range(runs):
        started = time.process_time()
        work()
        seconds.append(time.process_time() - started)
    return min(seconds)


def skip(name: str, reason: str) -> None:
    """Says on the log that something is not measured, and why."""
    structlog.get_logger().warning(f"skipped: {name}", reason=reason)


@dataclass(kw_only=True)
class Row:
    """One line of the table. `limit` is the least time per item that the processor's multipliers allow, None where unknown."""

    name: str
    n: int
    ns: float
    limit: float | None = None
    #: How many times slower each rival is.
    vs: dict[str, float] = field(default_factory=dict)
    #: Bytes per item on the wire, where that is the point.
    size: float | None = None
    #: Most bytes allocated at once, and those of each rival, where that is the point.
    peak: int | None = None
    peaks: dict[str, int] = field(default_factory=dict)
    #: Bytes of what it works on, where memory is measured against it.
    input: int | None = None

    def as_json(self) -> dict[str, Any]:
        """The form of `flfleet bench --json`."""
        row: dict[str, Any] = {
            "name": self.name,
            "n": self.n,
            "nsPerItem": round(self.ns, 3),
            "itemsPerSecond": round(1e9 / self.ns),
            "vs": {rival: round(times, 2) for rival, times in self.vs.items()},
            "limit": None if self.limit is None else round(self.limit, 1),
        }
        if self.size is not None:
            row["bytesPerItem"] = round(self.size, 3)
        if self.peak is not None:
            row |= {"peakBytes": self.peak, "peakBytesOf": self.peaks}
            if self.input is not None:
                row["peakTimesInput"] = round(self.peak / self.input, 3)
                row["peakTimesInputOf"] = {rival: round(peak / self.input, 3) for rival, peak in self.peaks.items()}
        return row
