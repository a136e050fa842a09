"""The learning bench's table: points below dense FedAvg and bytes a round, over the seeds, with what misses its target."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.learning import Measured
from pipeline.errors import Misconfigured


@dataclass(frozen=True, kw_only=True)
class Line:
    """One rule in one federation, mean of its seeds."""

    group: str
    rule: str
    rounds: int
    seeds: int
    #: 0 .. 100.
    accuracy: float
    #: Of dense FedAvg after as many rounds, minus `accuracy`, seed by seed.
    below: float
    #: Standard error of `below`; None with one seed.
    error: float | None
    #: A miner's, a round, mean over the rounds.
    bytes_sent: float
    #: In the last round, at the plan's own share.
    bytes_last: float
    #: None: no target.
    target: float | None

    @property
    def misses(self) -> bool:
        """Whether `below` is beyond the target."""
        return self.target is not None and self.below > self.target


def lines(found: Sequence[Measured]) -> list[Line]:
    """In the order of measurement."""
    dense = {(one.case.group, one.case.seed): one.rounds for one in found if one.case.rule == "dense"}
    rows: dict[tuple[str, str], list[Measured]] = {}
    for one in found:
        rows.setdefault((one.case.group, one.case.label), []).append(one)
    return [_line(members, dense) for members in rows.values()]


def _line(members: list[Measured], dense: dict[tuple[str, int], list[Any]]) -> Line:
    first, last = members[0].case, len(members[0].rounds)
    below = [
        100 * (dense[each.case.group, each.case.seed][last - 1].accuracy - each.rounds[-1].accuracy) for each in members
    ]
    return Line(
        group=first.group,
        rule=first.label,
        rounds=last,
        seeds=len(members),
        accuracy=100 * statistics.fmean(each.rounds[-1].accuracy for each in members),
        below=round(statistics.fmean(below), 6),
        error=None if len(below) < 2 else statistics.stdev(below) / len(below) ** 0.5,
        bytes_sent=statistics.fmean(one.bytes_sent for each in members for one in each.rounds),
        bytes_last=statistics.fmean(each.rounds[-1].bytes_sent for each in members),
        target=first.plan.target if first.plan is not None and first.rule == "ours" else None,
    )


def as_json(rows: Sequence[Line], found: Sequence[Measured]) -> dict[str, Any]:
    """Rows, the number of sums that went through the encryption, and whether all targets are met."""
    return {
        "rows": [{**asdict(row), "misses": row.misses} for row in rows],
        "decryptedSums": sum(each.encrypted for one in found for each in one.rounds),
        "sums": sum(len(one.rounds) for one in found if one.case.rule == "ours"),
        "ok": not any(row.misses for row in rows),
    }


_HEAD = "| federation | rule | rounds | seeds | accuracy | below dense | bytes a round | last round | target |"


def text(rows: Sequence[Line]) -> str:
    """A Markdown table, as docs/accuracy.md has it."""
    return "\n".join([_HEAD, "|---|---|---|---|---|---|---|---|---|", *(_text(row) for row in rows)])


def renewed(document: str, rows: Sequence[Line]) -> str:
    """A Markdown document with this table in place of its own. Raises Misconfigured where it has none."""
    before, head, after = document.partition(_HEAD)
    if not head:
        raise Misconfigured(f"the document has no table that begins with {_HEAD}")
    lines = after.split("\n")
    end = next((place for place, line in enumerate(lines[1:], 1) if not line.startswith("|")), len(lines))
    return before + "\n".join([text(rows), *lines[end:]])


def _text(row: Line) -> str:
    error = "" if row.error is None else f" ± {row.error:.2f}"
    target = "" if row.target is None else f"{row.target:g}: {'missed' if row.misses else 'met'}"
    return (
        f"| {row.group} | {row.rule} | {row.rounds} | {row.seeds} | {row.accuracy:.2f} | "
        f"{row.below:.2f}{error} | {row.bytes_sent:,.0f} | {row.bytes_last:,.0f} | {target} |"
    )
