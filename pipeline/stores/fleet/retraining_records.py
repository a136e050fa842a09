"""What the ledger says of local trainings: frozen records."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Turn(StrEnum):
    """Where a local training stands: queued -> running -> done, or failed, or cancelled by a person."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    #: The error says why.
    FAILED = "failed"
    CANCELLED = "cancelled"


#: Rows of one transaction, and of one page of an answer: what a command over thousands of runs holds in memory.
CHUNK = 500
#: It will move by itself.
UNFINISHED = (Turn.QUEUED, Turn.RUNNING)


@dataclass(frozen=True, kw_only=True)
class RetrainingClaim:
    """The right to do one local training, for as long as the token is the newest."""

    #: Its id; called so because a lease is renewed by this name.
    run_id: str
    token: int
    task_hash: str
    miner: str
    dataset: str
    priority: int
    #: Claims that ended without a word, before this one.
    attempts: int
    #: Digest of the training between two epochs that an earlier claim left.
    checkpoint: str | None


@dataclass(frozen=True, kw_only=True)
class Retraining:
    """One local training and what came of it."""

    retraining_id: str
    batch: str
    #: The run whose task, model and miner are trained again.
    run_id: str
    task_id: str
    round: int
    dataset: str
    miner: str
    miner_name: str
    priority: int
    state: Turn
    attempts: int
    error: str | None
    #: Epoch and loss, while it runs.
    progress: Mapping[str, Any]
    #: As the stage `train` gives them, once it is done.
    figures: Mapping[str, Any]
    #: Unix seconds.
    created_at: float
    started_at: float | None
    finished_at: float | None

    @property
    def seconds(self) -> float | None:
        """From the last claim to the end."""
        if self.started_at is None or self.finished_at is None:
            return None
        return self.finished_at - self.started_at
