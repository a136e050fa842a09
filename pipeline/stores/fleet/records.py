"""What the ledger of runs says: frozen records, and the one error of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pipeline.errors import FleetError


class Stage(StrEnum):
    """The seven stages in their order; the value is the queue's and the pool's name."""

    FETCH = "fetch"
    DATA = "data"
    TRAIN = "train"
    COMPRESS = "compress"
    COMMIT = "commit"
    ENCRYPT = "encrypt"
    SUBMIT = "submit"


class Fenced(FleetError):
    """The claim is not this worker's any more: another one took the run over, or it was ended. Nothing was written."""


class State(StrEnum):
    """Where a run stands.

    [held ->] queued -> running -> queued (next stage) ... -> accepted
                      -> waiting (until `not_before`) -> running
    ending otherwise: rejected, expired, dead, dropped
    """

    #: It waits for a person's word on its task.
    HELD = "held"
    #: A worker may claim the due stage.
    QUEUED = "queued"
    #: A worker holds the lease.
    RUNNING = "running"
    #: It may work later: after a Retryable, or between two attempts.
    WAITING = "waiting"
    #: The aggregator's receipt is in.
    ACCEPTED = "accepted"
    #: The other side's fault; the error is its reason.
    REJECTED = "rejected"
    #: The task's deadline passed.
    EXPIRED = "expired"
    #: For a person: attempts at the limit, or the operator's to mend.
    DEAD = "dead"
    #: Given up by a person.
    DROPPED = "dropped"


#: A run in one of these will move by itself.
OPEN = (State.QUEUED, State.RUNNING, State.WAITING)


def label_of(task_id: str, round_number: int, miner_name: str) -> str:
    """A run as people call it, where its id alone would say nothing."""
    return f"{task_id}, round {round_number}, {miner_name}"


@dataclass(frozen=True, kw_only=True)
class StageResult:
    """What a finished stage left."""

    stage: Stage
    #: Artifact names to digests.
    artifacts: Mapping[str, str]
    #: Small JSON values for later stages and for people.
    figures: Mapping[str, Any]
    #: Wall time from claim to commit.
    seconds: float
    #: Unix seconds of the worker's clock, for people.
    started_at: float
    finished_at: float


@dataclass(frozen=True, kw_only=True)
class Run:
    """One (task, miner): everything that people and later stages need to know."""

    run_id: str
    task_id: str
    round: int
    task_hash: str
    dataset: str
    #: SHA-256 of the task's model, 64 hex digits.
    model_sha256: str
    miner: str
    miner_name: str
    state: State
    #: The first unfinished stage; none once the run is accepted.
    stage: Stage | None
    #: Grows with every claim and every intervention; a commit needs the newest.
    token: int
    #: `host|boot|pid|start` of the worker that holds the lease.
    owner: str | None
    #: Claims of the due stage that ended without a commit.
    attempts: int
    #: Seconds until a waiting run may be claimed again.
    retry_in: float | None
    #: Unix seconds at which submissions close.
    deadline: int
    error: str | None
    #: What a stage last reported: epoch, loss, ... It stays until another one reports.
    progress: Mapping[str, Any]
    created_at: float
    updated_at: float
    #: Finished stages, in order.
    stages: tuple[StageResult, ...] = ()
    #: Digests recorded inside a stage: `payload`, `checkpoint`.
    notes: Mapping[str, str] = field(default_factory=dict)

    @property
    def artifacts(self) -> dict[str, str]:
        """Names to digests, of all finished stages and notes."""
        found = dict(self.notes)
        for result in self.stages:
            found.update(result.artifacts)
        return found

    @property
    def figures(self) -> dict[str, Any]:
        """The figures of all finished stages."""
        return {name: value for result in self.stages for name, value in result.figures.items()}

    @property
    def seconds(self) -> dict[str, float]:
        """Wall time of each finished stage."""
        return {result.stage: result.seconds for result in self.stages}


@dataclass(frozen=True, kw_only=True)
class Claim:
    """The right to work on one stage of a run, for as long as the token is the newest."""

    run_id: str
    stage: Stage
    token: int
    task_hash: str
    miner: str
    #: Claims of this stage that ended without a commit, before this one.
    attempts: int
    #: Artifact names to digests: notes, and the outputs of all finished stages.
    inputs: Mapping[str, str]
    figures: Mapping[str, Any]
    #: Stages whose output stands, and those that have one at all: a damaged one stays until it is made again.
    finished: frozenset[str]
    made: frozenset[str]
    #: Unix seconds and monotonic seconds at which the claim was made, by this process.
    started_at: float
    started_monotonic: float
    #: Task, round and miner, for people.
    label: str = field(default="", compare=False)


@dataclass(frozen=True, kw_only=True)
class Due:
    """A run that needs a new chain, from `stage` on."""

    run_id: str
    stage: Stage
    token: int
    #: Task, round and miner, for people.
    label: str = field(default="", compare=False)


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A task that this miner (all of them, where empty) does not run, and why."""

    task_hash: str
    miner: str
    task_id: str
    round: int
    reasons: tuple[str, ...]
    #: Unix seconds.
    created_at: float


@dataclass(frozen=True, kw_only=True)
class WorkerSeen:
    """A worker's main process, as it last said of itself."""

    name: str
    pool: str
    host: str
    pid: int
    processes: int
    devices: Sequence[str]
    #: Unix seconds of its own clock.
    started_at: float
    seen_at: float
