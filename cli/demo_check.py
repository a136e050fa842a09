"""What the demo reads from both sides, and what it holds them to."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import FleetError, Retryable
from pipeline.parties.blocks import fetch_audit
from pipeline.parties.http import RefusedByParty, fetch_bytes
from pipeline.protocol.block import Audit
from pipeline.protocol.strict import read_json
from pipeline.settings import Settings
from pipeline.stages.contract import Stage
from pipeline.stores.artifacts import ArtifactStore
from pipeline.stores.db.engine import open_database
from pipeline.stores.fleet.ledger import Run, RunLedger

_MAX_STATE_BYTES = 4 * 1024 * 1024
_MAX_AUDIT_BYTES = 512 * 1024 * 1024
_TIMEOUT = 10.0


@dataclass(frozen=True, kw_only=True)
class RoundResult:
    """One round as the aggregator shows it, with the fleet's times."""

    round: int
    status: str
    submissions: int
    expected: int
    coordinates: int
    dropped: int
    accuracy: float | None
    block_hash: str | None
    #: Mean seconds of each stage over the miners.
    seconds: Mapping[str, float]

    @property
    def ended_early(self) -> bool:
        """Whether no further round can come."""
        return self.status in ("ABORTED", "REJECTED")


class Ledger:
    """The demo's eyes: the fleet's ledger and artifacts, and the aggregator's public answers."""

    def __init__(self, fleet: Settings, aggregator_url: str, task_id: str) -> None:
        self._runs = RunLedger(open_database(fleet.ledger))
        self.artifacts = ArtifactStore(fleet.artifacts, fleet.cache / "scratch")
        self.url = aggregator_url
        self.task_id = task_id

    def runs(self, round_number: int | None = None) -> list[Run]:
        """The fleet's runs of the demo's task."""
        runs = [run for run in self._runs.runs() if run.task_id == self.task_id]
        return runs if round_number is None else [run for run in runs if run.round == round_number]

    def refusals(self) -> list[str]:
        """Why identities did not take part."""
        return sorted({reason for refusal in self._runs.refusals() for reason in refusal.reasons})

    def task_state(self) -> dict[str, Any]:
        """The aggregator's answer about the task; empty while it does not answer or does not know it."""
        url = f"{self.url}/aggregator/tasks/{self.task_id}"
        try:
            state = read_json(fetch_bytes(url, max_bytes=_MAX_STATE_BYTES, timeout=_TIMEOUT))
        except (Retryable, RefusedByParty):
            return {}
        return state if isinstance(state, dict) else {}

    def audit(self, block_hash: str) -> Audit:
        """A block's audit data."""
        return fetch_audit(self.url, block_hash, max_bytes=_MAX_AUDIT_BYTES, timeout=_TIMEOUT)


def read_rounds(ledger: Ledger) -> list[RoundResult]:
    """The rounds that are over."""
    state = ledger.task_state()
    return [
        RoundResult(
            round=entry["round"],
            status=entry["status"],
            submissions=entry["submissions"],
            expected=state["expected"],
            coordinates=entry["coordinates"],
            dropped=entry["dropped"],
            accuracy=entry["accuracy"],
            block_hash=entry["blockHash"],
            seconds=_mean_seconds(ledger.runs(entry["round"])),
        )
        for entry in state.get("history", [])
    ]


def problems_of(
    ledger: Ledger, results: Sequence[RoundResult], miners: int, rounds: int, expected_accuracy: float
) -> list[str]:
    """Everything that the demo promised and did not come true, as sentences; empty if all is well."""
    problems = [f"refused: {reason}" for reason in ledger.refusals()]
    if len(results) < rounds:
        problems.append(f"only {len(results)} of {rounds} rounds are over")
    for result in results:
        problems += [f"round {result.round}: {text}" for text in _round_problems(ledger, result, miners)]
    accuracy = results[-1].accuracy if results else None
    if accuracy is None or accuracy < expected_accuracy:
        problems.append(f"accuracy is {accuracy}, expected at least {expected_accuracy}")
    return problems


def _round_problems(ledger: Ledger, result: RoundResult, miners: int) -> list[str]:
    runs = ledger.runs(result.round)
    problems = [
        f"{run.miner_name} is {run.state} in {run.stage}: {run.error}" for run in runs if run.state != "accepted"
    ]
    if result.submissions != miners or len(runs) != miners:
        problems.append(f"{result.submissions} submissions of {len(runs)} runs, expected {miners}")
    if result.block_hash is None:
        return [*problems, f"no block ({result.status})"]
    if result.dropped:
        problems.append(f"{result.dropped} groups were dropped")
    try:
        audit = ledger.audit(result.block_hash)
        sums = np.frombuffer(audit.aggregate[:], dtype="<i8")
        if not np.array_equal(sums, _really_encrypted(ledger, runs)):
            problems.append("the aggregate is not the sum of what the miners encrypted")
    except FleetError as error:
        problems.append(f"the sum could not be checked: {error}")
    return problems


def _really_encrypted(ledger: Ledger, runs: Sequence[Run]) -> NDArray[np.int64]:
    """The sum over the miners of x, coordinate by coordinate, from the fleet's own artifacts."""
    parts = [ledger.artifacts.get_array(run.artifacts["values"]).astype(np.int64) for run in runs]
    total: NDArray[np.int64] = np.sum(parts, axis=0)
    return total


def _mean_seconds(runs: Sequence[Run]) -> dict[str, float]:
    seconds: defaultdict[str, list[float]] = defaultdict(list)
    for run in runs:
        for stage, spent in run.seconds.items():
            seconds[stage].append(spent)
    return {stage.value: round(fmean(seconds[stage.value]), 3) for stage in Stage if seconds[stage.value]}
