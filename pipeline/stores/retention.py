"""What an artifact store must keep, and for how long: rules over what the ledgers say. Nothing here removes anything.

open run               everything; its checkpoint until the training has committed
ended run              everything for `ended_seconds`, in case a person retries it
opening and payload    until the reveal window has surely closed (docs/protocol.md, section 8), whatever else is asked for
values, residual       of a miner's latest submission to a task that may have another round, and what an open run builds on
an aggregator's round  everything until the same window has closed; block, audit and the last model for ever
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from pipeline.protocol.task import Task
from pipeline.stores.aggregator.rounds import Round
from pipeline.stores.fleet.base import PAYLOAD
from pipeline.stores.fleet.records import OPEN, Run, Stage

#: Nothing younger is removed, named or not: a stage writes its artifacts before the commit that names them.
GRACE_SECONDS = 3600.0
#: What proves that the miner took part and lets it reveal its score. `header` names the submission.
_PROOF = ("opening", "payload", "receipt", "header")
#: What compress of the next round reads of this one.
_CARRIED = ("header", "values", "residual", "support")


@dataclass(frozen=True, kw_only=True)
class Terms:
    """How long, in seconds. Raises ValueError for negative ones."""

    #: After a run's end (or its deadline, whichever is later).
    ended_seconds: float
    #: After the last moment that the deadline alone lets us name for the reveal: the round's end is not known here.
    opening_seconds: float

    def __post_init__(self) -> None:
        if self.ended_seconds < 0 or self.opening_seconds < 0:
            raise ValueError("retention cannot be negative")


def named_by_runs(runs: Sequence[Run], task: Callable[[str], Task], terms: Terms, now: float) -> set[str]:
    """Digests that the runs of a fleet still need at `now` (Unix seconds). `task`: by its hash."""
    carried = _carried(runs, task)
    kept: set[str] = set()
    for run in runs:
        kept.update(_of_run(run, task(run.task_hash), terms, now))
        if run.run_id in carried:
            kept.update(_named(run, _CARRIED))
    return kept


def window_closed(deadline: float, timeout: float, terms: Terms, now: float) -> bool:
    """Whether no reveal of a round can be asked for any more: votes and reveal take `timeout` each, and closing its time."""
    return now >= deadline + 2 * timeout + terms.opening_seconds


def named_by_rounds(
    rounds: Sequence[Round], bodies: Callable[[str, int], Collection[str]], terms: Terms, now: float
) -> set[str]:
    """Digests that an aggregator still needs or serves. `bodies`: of a round's submissions."""
    last = {found.task.task_id: found.task.round for found in sorted(rounds, key=lambda found: found.task.round)}
    kept: set[str] = set()
    for found in rounds:
        row, task = found.row, found.task
        names = {row.audit}
        over = found.is_over and window_closed(max(task.deadline, row.updated_at), task.timeout, terms, now)
        if not over:
            names |= {row.model, row.support, row.key, row.mask_sums, row.aggregate, row.new_model, row.next_support}
            names |= set(bodies(task.task_id, task.round))
        elif last[task.task_id] == task.round:
            names |= {row.model, row.new_model, row.next_support}
        kept |= {name for name in names if name}
    return kept


def _of_run(run: Run, task: Task, terms: Terms, now: float) -> Iterator[str]:
    trained = any(result.stage is Stage.TRAIN for result in run.stages)
    if run.state in OPEN or now < max(run.updated_at, run.deadline) + terms.ended_seconds:
        yield from (digest for name, digest in run.artifacts.items() if not (trained and name == "checkpoint"))
    if not window_closed(max(run.deadline, run.updated_at), task.timeout, terms, now):
        yield from _named(run, _PROOF)


def _carried(runs: Sequence[Run], task: Callable[[str], Task]) -> set[str]:
    """Ids of the runs whose residual another run starts from, or a next round may."""
    histories: dict[tuple[str, str, str], list[Run]] = {}
    for run in sorted(runs, key=lambda run: run.round):
        histories.setdefault((run.miner, run.dataset, run.task_id), []).append(run)
    carried: set[str] = set()
    for history in histories.values():
        sent: Run | None = None
        for run in history:
            if sent is not None and run.state in OPEN:
                carried.add(sent.run_id)
            if PAYLOAD in run.notes:
                sent = run
        if sent is not None and sent.round < task(sent.task_hash).max_rounds:
            carried.add(sent.run_id)
    return carried


def _named(run: Run, names: Sequence[str]) -> Iterator[str]:
    artifacts = run.artifacts
    return (artifacts[name] for name in names if name in artifacts)
