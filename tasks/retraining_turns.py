"""Local trainings at work in one process: their leases, progress and checkpoints, and how each one ends."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from functools import lru_cache, partial
from typing import Any

import structlog

from pipeline.errors import Corrupt, FleetError, Retryable
from pipeline.retraining import GaveWay, OpenDatasets, retrain
from pipeline.settings import current
from pipeline.stacked_retraining import Stacks, retrain_together
from pipeline.stages.contract import Job
from pipeline.stores.fleet.ledger import RunLedger
from pipeline.stores.fleet.records import Fenced
from pipeline.stores.fleet.retraining_records import RetrainingClaim
from tasks.holdings import artifacts, identity_of, ledger
from tasks.leases import RenewedLease
from tasks.perform import backoff

_REPORT_SECONDS = 1.0
#: A round's training that has been in the queue for so long finds no idle worker: a local one gives its place at the epoch's end.
PATIENCE_SECONDS = 1.0
_log = structlog.get_logger(__name__)


class Turns:
    """The claims of one message: the first one's, and those that share its stack."""

    def __init__(self, book: RunLedger, claim: RetrainingClaim) -> None:
        self._book = book
        self._left = [_Turn(book, claim)]
        self._next_report = time.monotonic() + _REPORT_SECONDS

    def add(self, claims: Sequence[RetrainingClaim]) -> None:
        """These are trained with the first one."""
        self._left += [_Turn(self._book, claim) for claim in claims]

    def take(self, alone: str | None, stacks: Stacks) -> str:
        """Trains them: the only one because of `alone`, or all together. Returns a word for Flower.

        Where they turn out not to be stackable, `stacks` is told, the first is trained alone and the others go back.
        """
        if alone is not None:
            return self._alone(alone)
        # torch, and only in the pool that trains.
        from pipeline.learning.stacking import Unstackable

        try:
            return self._together()
        except Unstackable as error:
            _log.warning("stack undone", reason=str(error), trainings=len(self._left))
            stacks.remember(self._left[0].task, str(error))
            for turn in self._left[1:]:
                self._ended(turn, turn.give_back, f"back into the queue: {error}")
            return self._alone(str(error))

    def failed(self, reason: str) -> None:
        """Counts an attempt of each that has not ended."""
        for turn in list(self._left):
            self._ended(turn, partial(turn.defer, reason), f"tried: {reason}")

    def _alone(self, why: str) -> str:
        (turn,) = self._left
        begun = time.monotonic()
        try:
            with turn.lease() as lease:
                job = turn.job(_Report(self._book, turn.claim, lease))
                figures = retrain(job, _datasets(), _rounds().wait, alone=why)
            self._book.finish_retraining(turn.claim, figures)
        except (FleetError, Fenced) as error:
            return self._refused(turn, error)
        turn.forget()
        self._left.remove(turn)
        _log.info("retrained", retraining=turn.claim.run_id, seconds=round(time.monotonic() - begun, 3))
        return "trained"

    def _together(self) -> str:
        turns, begun, trained = list(self._left), time.monotonic(), 0
        try:
            with ExitStack() as leases:
                held = [leases.enter_context(turn.lease()) for turn in turns]
                ended = retrain_together(
                    [turn.job(lambda _progress: None) for turn in turns],
                    _datasets(),
                    leave=lambda progress: self._leave(turns, held, progress),
                    gives_way=_rounds().wait,
                )
                for some in ended:
                    trained += self._finish({index: turns[index] for index in some}, some)
        except FleetError as error:
            for turn in list(self._left):
                self._refused(turn, error)
        _log.info(
            "retrained together",
            trainings=len(turns),
            trained=trained,
            seconds=round(time.monotonic() - begun, 3),
        )
        return f"trained {trained} of {len(turns)}"

    def _finish(self, turns: Mapping[int, "_Turn"], ended: Mapping[int, Mapping[str, Any] | FleetError]) -> int:
        """Writes these down, all at once; how many have figures now. Raises Retryable."""
        figures: list[tuple[RetrainingClaim, Mapping[str, Any]]] = []
        for index, result in ended.items():
            if isinstance(result, FleetError):
                self._refused(turns[index], result)
            else:
                figures.append((turns[index].claim, result))
        lost = self._book.finish_retrainings(figures)
        for turn in turns.values():
            if turn in self._left:
                self._left.remove(turn)
                if turn.claim.run_id not in lost:
                    turn.forget()
        return len(figures) - len(lost)

    def _leave(
        self, turns: Sequence["_Turn"], leases: Sequence[RenewedLease], progress: Mapping[int, Mapping[str, Any]]
    ) -> Collection[int]:
        """Writes the progress of all, at most once a second; those that were cancelled or taken over leave."""
        gone = {index for index in progress if leases[index].is_lost}
        if time.monotonic() >= self._next_report:
            self._next_report = time.monotonic() + _REPORT_SECONDS
            try:
                lost = self._book.report_retrainings(
                    (turns[index].claim, value) for index, value in progress.items() if index not in gone
                )
            except Retryable:
                lost = set()  # for people only
            gone |= {index for index in progress if turns[index].claim.run_id in lost}
        for index in gone:
            self._left.remove(turns[index])
            _log.warning("retraining ended", retraining=turns[index].claim.run_id, reason="fenced: it left its stack")
        return gone

    def _refused(self, turn: "_Turn", error: Exception) -> str:
        """Writes down what an error means for a training."""
        if isinstance(error, Fenced):
            return self._ended(turn, lambda: None, f"fenced: {error}")
        if isinstance(error, GaveWay):
            return self._ended(turn, turn.give_back, f"gave way: {error}")
        if isinstance(error, Retryable | Corrupt):
            afresh = isinstance(error, Corrupt)
            return self._ended(turn, partial(turn.defer, str(error), afresh=afresh), f"tried: {error}")
        return self._ended(turn, partial(turn.fail, str(error)), f"failed: {error}")

    def _ended(self, turn: "_Turn", write: Callable[[], object], word: str) -> str:
        """Writes down how it ended; where that fails the lease runs out, and the sweep counts the attempt."""
        self._left.remove(turn)
        try:
            write()
        except (Fenced, Retryable) as error:
            _log.warning("end not written down", retraining=turn.claim.run_id, reason=str(error))
        _log.warning("retraining ended", retraining=turn.claim.run_id, reason=word)
        return word


class _Turn:
    """One claim at work, and its newest checkpoint."""

    def __init__(self, book: RunLedger, claim: RetrainingClaim) -> None:
        self._book = book
        self.claim = claim
        self.task = book.task(claim.task_hash)
        self._checkpoint = claim.checkpoint

    def lease(self) -> RenewedLease:
        """A context in which its lease is renewed."""
        renew = partial(self._book.renew_retraining, self.claim)
        return RenewedLease.by(renew, self._book.lease_seconds, self.claim.run_id)

    def job(self, report: Callable[[Mapping[str, Any]], None]) -> Job:
        """What is to be done, from its newest checkpoint on."""
        return Job(
            run_id=self.claim.run_id,
            task=self.task,
            identity=identity_of(self.claim.miner),
            inputs={} if self._checkpoint is None else {"checkpoint": self._checkpoint},
            figures={},
            artifacts=artifacts(),
            settings=current(),
            report=report,
            note=self._note,
        )

    def give_back(self) -> None:
        """Back into the queue. Raises Fenced, Retryable."""
        self._book.give_back_retraining(self.claim)

    def defer(self, reason: str, *, afresh: bool = False) -> None:
        """Counts an attempt. Raises Fenced, Retryable."""
        self._book.defer_retraining(self.claim, reason, backoff(self.claim.attempts), afresh=afresh)

    def fail(self, reason: str) -> None:
        """It cannot be done. Raises Fenced, Retryable."""
        self._book.fail_retraining(self.claim, reason)
        self.forget()

    def forget(self) -> None:
        """Removes the checkpoint of a training that has ended; should that fail, the nightly pruning does."""
        if self._checkpoint is not None:
            try:
                artifacts().delete(self._checkpoint)
            except Retryable as error:
                _log.warning("checkpoint not removed", reason=str(error))

    def _note(self, _name: str, digest: str) -> None:
        self._book.note_retraining(self.claim, digest)
        self._checkpoint = digest


class _Report:
    """Progress into the ledger, at most once a second. Raises Fenced where the training was cancelled or taken over."""

    def __init__(self, book: RunLedger, claim: RetrainingClaim, lease: RenewedLease) -> None:
        self._book, self._claim, self._lease = book, claim, lease
        self._next = time.monotonic() + _REPORT_SECONDS

    def __call__(self, progress: Mapping[str, Any]) -> None:
        self._lease.check()
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _REPORT_SECONDS
        try:
            self._book.report_retraining(self._claim, progress)
        except Retryable:
            return  # for people only


class _Rounds:
    """Whether a round waits for this pool; asked of the ledger at most once in PATIENCE_SECONDS."""

    def __init__(self) -> None:
        self._next = 0.0

    def wait(self) -> bool:
        """An idle worker would have taken it in PATIENCE_SECONDS; where the ledger is away, nobody waits."""
        if time.monotonic() < self._next:
            return False
        self._next = time.monotonic() + PATIENCE_SECONDS
        try:
            return ledger().round_waits(PATIENCE_SECONDS)
        except Retryable:
            return False


@lru_cache(maxsize=1)
def _rounds() -> _Rounds:
    return _Rounds()


@lru_cache(maxsize=1)
def _datasets() -> OpenDatasets:
    return OpenDatasets()
