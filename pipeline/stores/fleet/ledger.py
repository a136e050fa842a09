"""The ledger of runs: the truth about who works on what. The broker holds hints only and may be wiped at any time.

A stage is claimed by compare-and-set and its result is committed only under the claim's token, so however often a message
comes, one worker's result stands. Every method is one short transaction.

    intake    add_task add_run refuse             what a poll writes down
    claims    claim renew note commit defer ...   what a worker does with a run
    sweeps    due_for_sweep                       what beat asks every few seconds
    controls  stop resume stops                   what a person stopped on purpose
    retrainings                                   local trainings that a person asked for
    presence  say_present workers                 who is there
    here      runs retry drop previous_run ...    what people and later runs ask
"""

import time
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, func, select

from pipeline.errors import Misconfigured
from pipeline.settings import Settings
from pipeline.stores.db.engine import open_database
from pipeline.stores.fleet.approvals import Approvals
from pipeline.stores.fleet.base import PAYLOAD, STAGES, noted
from pipeline.stores.fleet.claims import Claims
from pipeline.stores.fleet.controls import Controls
from pipeline.stores.fleet.intake import Intake
from pipeline.stores.fleet.records import Refusal as Refusal
from pipeline.stores.fleet.records import Run as Run
from pipeline.stores.fleet.records import Stage, StageResult, State
from pipeline.stores.fleet.retrainings import Retrainings
from pipeline.stores.fleet.sweep import Sweeps
from pipeline.stores.fleet.tables import notes, outputs, runs
from pipeline.stores.fleet.workers import Presence


class RunLedger(Intake, Claims, Sweeps, Controls, Retrainings, Approvals, Presence):
    """The runs of one fleet. Safe to use from many threads and processes; a process opens its own after a fork."""

    @classmethod
    def open(cls, settings: Settings) -> "RunLedger":
        """The ledger that the settings name. Raises Misconfigured or Retryable."""
        return cls(
            open_database(settings.ledger),
            lease_seconds=settings.lease_seconds,
            max_attempts=settings.max_attempts,
            privacy_budget=settings.privacy_budget,
        )

    def run(self, run_id: str) -> Run:
        """One run. Raises Misconfigured where there is none."""
        found = self._runs(runs.c.run_id == run_id)
        if not found:
            raise Misconfigured(f"no run {run_id}; `flfleet status` lists them")
        return found[0]

    def runs(
        self, *, states: Collection[State] | None = None, task_id: str | None = None, limit: int | None = None
    ) -> list[Run]:
        """Runs with their stages' results, oldest first; with a `limit` the newest ones."""
        chosen: list[ColumnElement[bool]] = []
        if states is not None:
            chosen.append(runs.c.state.in_(sorted(states)))
        if task_id is not None:
            chosen.append(runs.c.task_id == task_id)
        return self._runs(*chosen, limit=limit)

    def counts(self) -> dict[tuple[State, Stage | None], int]:
        """How many runs stand where."""
        with self._reading() as db:
            rows = db.execute(select(runs.c.state, runs.c.stage, func.count()).group_by(runs.c.state, runs.c.stage))
            return {(State(state), Stage(stage) if stage else None): count for state, stage, count in rows}

    def retry(self, run_id: str) -> Run:
        """Queues a dead, rejected or waiting run again with fresh attempts. Raises Misconfigured for one in another state."""
        with self._transaction() as db:
            row = self._row(db, run_id)
            if row is None:
                raise Misconfigured(f"no run {run_id}; `flfleet status` lists them")
            if row.state not in (State.DEAD, State.REJECTED, State.WAITING):
                raise Misconfigured(f"run {run_id} is {row.state}; only dead, rejected and waiting runs are retried")
            values = {
                "state": State.QUEUED,
                "token": row.token + 1,
                "attempts": 0,
                "not_before": None,
                "driven_at": self._now(),
                "updated_at": time.time(),
            }
            self._update(db, run_id, row.token, values)
        return self.run(run_id)

    def drop(self, run_id: str) -> Run:
        """Gives a run up; a worker that has it is fenced. Its row stays: what was sent is still counted. Raises Misconfigured."""
        with self._transaction() as db:
            row = self._row(db, run_id)
            if row is None:
                raise Misconfigured(f"no run {run_id}; `flfleet status` lists them")
            if row.state == State.ACCEPTED:
                raise Misconfigured(f"run {run_id} is accepted: the aggregator holds its submission")
            values = {
                "state": State.DROPPED,
                "token": row.token + 1,
                "owner": None,
                "lease_until": None,
                "updated_at": time.time(),
            }
            self._update(db, run_id, row.token, values)
        return self.run(run_id)

    def previous_run(self, miner: str, dataset: str, task_id: str, before_round: int) -> Run | None:
        """The miner's latest run of an earlier round whose submission left (or may have): its residual is the next one's start."""
        found = self._runs(
            runs.c.miner == miner,
            runs.c.dataset == dataset,
            runs.c.task_id == task_id,
            runs.c.round < before_round,
            noted(runs.c.run_id, PAYLOAD),
            order=(runs.c.round.desc(),),
            limit=1,
        )
        return found[0] if found else None

    def _runs(
        self, *chosen: ColumnElement[bool], order: Sequence[ColumnElement[Any]] | None = None, limit: int | None = None
    ) -> list[Run]:
        # The newest are cut off first, then turned round.
        newest = order or (runs.c.created_at.desc(), runs.c.miner_name.desc(), runs.c.run_id.desc())
        statement = select(runs, self._clock("now")).where(*chosen).order_by(*newest).limit(limit)
        with self._reading() as db:
            rows = db.execute(statement).all()[::-1]
            ids = select(runs.c.run_id).where(*chosen).order_by(*newest).limit(limit).subquery()
            results: dict[str, list[StageResult]] = {}
            for each in db.execute(select(outputs).where(outputs.c.run_id.in_(select(ids)), ~outputs.c.damaged)):
                results.setdefault(each.run_id, []).append(_result(each))
            noted: dict[str, dict[str, str]] = {}
            for each in db.execute(select(notes).where(notes.c.run_id.in_(select(ids)))):
                noted.setdefault(each.run_id, {})[each.name] = each.digest
        return [_run(row, results.get(row.run_id, []), noted.get(row.run_id, {})) for row in rows]


def _result(row: Row[Any]) -> StageResult:
    return StageResult(
        stage=Stage(row.stage),
        artifacts=row.artifacts,
        figures=row.figures,
        seconds=row.seconds,
        started_at=row.started_at,
        finished_at=row.finished_at,
    )


def _run(row: Row[Any], results: list[StageResult], noted: dict[str, str]) -> Run:
    waiting = row.state == State.WAITING and row.not_before is not None
    return Run(
        run_id=row.run_id,
        task_id=row.task_id,
        round=row.round,
        task_hash=row.task_hash,
        dataset=row.dataset,
        model_sha256=row.model_sha256,
        miner=row.miner,
        miner_name=row.miner_name,
        state=State(row.state),
        stage=Stage(row.stage) if row.stage else None,
        token=row.token,
        owner=row.owner,
        attempts=row.attempts,
        retry_in=max(row.not_before - row.now, 0.0) if waiting else None,
        deadline=row.deadline,
        error=row.error,
        progress=row.progress,
        created_at=row.created_at,
        updated_at=row.updated_at,
        stages=tuple(sorted(results, key=lambda result: STAGES.index(result.stage))),
        notes=noted,
    )
