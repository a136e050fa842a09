"""What chaos found, for people and as JSON."""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from rich.markup import escape
from rich.table import Table

from cli.chaos_count import Count
from cli.chaos_schedule import Fault, Kind
from cli.chaos_watch import Recovery
from cli.console import ERR

_MOST_PROBLEMS = 20


def summary(count: Count, done: Sequence[Fault], recoveries: Sequence[Recovery]) -> dict[str, Any]:
    """The JSON object; seconds are null where a fault met no work to be held up."""
    return {
        "runs": count.runs,
        "accepted": count.accepted,
        "lost": count.lost,
        "duplicates": count.duplicates,
        "stuck": count.stuck,
        "openingsLost": count.openings_lost,
        "faults": {kind.value: _fault(kind, done, recoveries) for kind in Kind if any(f.kind is kind for f in done)},
    }


def _fault(kind: Kind, done: Sequence[Fault], recoveries: Sequence[Recovery]) -> dict[str, Any]:
    seconds = [each.measured for each in recoveries if each.kind is kind and each.measured is not None]
    return {
        "n": sum(fault.kind is kind for fault in done),
        "recoverySeconds": {
            "median": round(median(seconds), 2) if seconds else None,
            "max": round(max(seconds), 2) if seconds else None,
        },
    }


def as_line(document: dict[str, Any]) -> str:
    """One line of JSON."""
    return json.dumps(document, separators=(",", ":"))


def write_log(path: Path, recoveries: Sequence[Recovery]) -> None:
    """A line for every fault that ended: what it hit and how long that took to move, for whoever asks why."""
    with path.open("w") as file:
        for each in recoveries:
            entry = {
                "fault": each.kind,
                "at": round(each.since, 2),
                "runs": list(each.hit),
                "pools": {pool: each.moved.get(pool) for pool in each.pools},
                "seconds": each.measured,
                "brokerAway": each.held_up,
            }
            file.write(json.dumps(entry) + "\n")


def print_report(document: dict[str, Any], count: Count, skipped: dict[Kind, str], seed: int) -> None:
    """Tables and sentences on stderr."""
    table = Table("fault", "times", "recovered after, median s", "worst s", title=f"seed {seed}")
    for kind, entry in document["faults"].items():
        seconds = entry["recoverySeconds"]
        table.add_row(kind, str(entry["n"]), _text(seconds["median"]), _text(seconds["max"]))
    ERR.print(table)
    for kind, reason in skipped.items():
        ERR.print(f"[yellow]skipped[/] {kind.value}: {reason}")
    for problem in count.problems[:_MOST_PROBLEMS]:
        ERR.print(f"[red]{escape(problem)}[/]", soft_wrap=True)
    colour = "green" if count.is_whole else "red"
    ERR.print(
        f"[{colour}]{count.accepted} of {count.runs} runs accepted[/], {count.lost} lost, {count.duplicates} doubled, "
        f"{count.stuck} stuck, {count.openings_lost} openings lost"
    )


def _text(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.1f}"
