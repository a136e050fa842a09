"""The sweep: ends what is over, takes dead workers' leases back, finds runs whose message was lost."""

import time
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, func, literal, or_, select, update

from pipeline.stores.fleet.base import MAX_WAIT_SECONDS, PAYLOAD, RECEIPT_GRACE_SECONDS, LedgerBase, noted
from pipeline.stores.fleet.controls import stopped
from pipeline.stores.fleet.records import OPEN, Due, Stage, State, label_of
from pipeline.stores.fleet.tables import runs
from pipeline.stores.fleet.tallies import FAILURE, REDRIVEN, Tallies

#: Runs of one kind that one sweep drives, so that a sweep stays short.
SWEEP_LIMIT = 500
#: What a person paused gets no message: its claim would be refused.
_PAUSED = stopped(runs.c.stage, runs.c.dataset)
_NAMED = (runs.c.run_id, runs.c.stage, runs.c.token, runs.c.task_id, runs.c.round, runs.c.miner_name)


class Sweeps(LedgerBase):
    """What beat asks of the ledger every few seconds."""

    def due_for_sweep(self, *, idle_seconds: float, depths: Mapping[str, int] | None = None) -> list[Due]:
        """Ends what is over, takes leases of dead workers back, and names the runs that need a new chain.

        `depths`: messages that wait in each stage's queue. A queued run is taken for lost only where the ledger has more of
        them than the queue (and it is idle for `idle_seconds`): so a long queue is not doubled at every sweep. Without them
        it is taken for lost after ten times as long. Two sweepers never name the same run twice.
        """
        counted = Tallies()
        with self._transaction() as db:
            self._expire(db, counted)
            by_reason = {
                "worker lost": self._released(db, counted),
                "wait over": self._woken(db),
                "message lost": self._idle(db, idle_seconds, depths),
            }
            for reason, due in by_reason.items():
                for each in due:
                    counted.add(REDRIVEN, each.stage, reason)
            counted.write(db)
        return [each for due in by_reason.values() for each in due]

    def _expire(self, db: Connection, counted: Tallies) -> None:
        now = self._now() if self._postgres else literal(time.time())
        sent = noted(runs.c.run_id, PAYLOAD)
        over = or_(and_(runs.c.deadline < now, ~sent), and_(runs.c.deadline < now - RECEIPT_GRACE_SECONDS, sent))
        last = func.coalesce(literal("; last: ") + runs.c.error, "")
        ended = db.execute(
            update(runs)
            .where(runs.c.state.in_((*OPEN, State.HELD)), over)
            .values(
                state=State.EXPIRED,
                token=runs.c.token + 1,
                owner=None,
                lease_until=None,
                error=literal("submissions closed in stage ") + runs.c.stage + last,
                updated_at=time.time(),
            )
            .returning(runs.c.stage)
        )
        for stage in ended.scalars():
            counted.add(FAILURE, stage, "expired")

    def _released(self, db: Connection, counted: Tallies) -> list[Due]:
        rows = db.execute(select(runs, self._clock("now")).where(runs.c.state == State.RUNNING)).all()
        return [_due(row) for row in rows if self._is_lost(row) and self._release(db, row, counted)]

    def _woken(self, db: Connection) -> list[Due]:
        now = self._now()
        over = or_(runs.c.not_before <= now, runs.c.not_before > now + MAX_WAIT_SECONDS)
        chosen = select(runs.c.run_id).where(runs.c.state == State.WAITING, over, ~_PAUSED).limit(SWEEP_LIMIT)
        return self._driven(db, chosen, State.WAITING)

    def _idle(self, db: Connection, idle_seconds: float, depths: Mapping[str, int] | None) -> list[Due]:
        now = self._now()
        patience = idle_seconds if depths is not None else 10 * idle_seconds
        # Later than now: of a clock before a reboot.
        idle = or_(runs.c.driven_at <= now - patience, runs.c.driven_at > now + 1)
        queued = db.execute(
            select(runs.c.stage, func.count()).where(runs.c.state == State.QUEUED, ~_PAUSED).group_by(runs.c.stage)
        ).all()
        found: list[Due] = []
        for stage, count in queued:
            lost = min(count - (depths or {}).get(stage, 0), SWEEP_LIMIT)
            if lost > 0:
                chosen = (
                    select(runs.c.run_id)
                    .where(runs.c.state == State.QUEUED, runs.c.stage == stage, idle, ~_PAUSED)
                    .order_by(runs.c.driven_at)
                    .limit(lost)
                )
                found += self._driven(db, chosen, State.QUEUED)
        return found

    def _driven(self, db: Connection, chosen: Select[Any], state: State) -> list[Due]:
        if self._postgres:
            chosen = chosen.with_for_update(skip_locked=True)
        # As a common table expression it is evaluated once: PostgreSQL would run a subquery with a LIMIT again and again.
        picked = chosen.cte("chosen")
        rows = db.execute(
            update(runs)
            .where(runs.c.run_id.in_(select(picked.c.run_id)), runs.c.state == state)
            .values(state=State.QUEUED, not_before=None, driven_at=self._now())
            .returning(*_NAMED)
        )
        return [_due(row) for row in rows.all()]


def _due(row: Row[Any]) -> Due:
    label = label_of(row.task_id, row.round, row.miner_name)
    return Due(run_id=row.run_id, stage=Stage(row.stage), token=row.token, label=label)
