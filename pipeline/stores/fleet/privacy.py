"""What each data set has given away: submissions that left, and the privacy loss that their trainings state."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Engine, String, Text, and_, bindparam, cast, select

from pipeline.errors import Rejected
from pipeline.stores.db.session import Prepared, Session
from pipeline.stores.fleet.base import PAYLOAD, LedgerBase
from pipeline.stores.fleet.records import Stage
from pipeline.stores.fleet.tables import notes, outputs, runs

#: A cap for every data set that has none of its own.
ANY = "*"


@dataclass(frozen=True, kw_only=True)
class Spent:
    """Of one identity's data set."""

    miner: str
    miner_name: str
    dataset: str
    tasks: int
    #: Runs whose submission left, or may have.
    submissions: int
    #: Sum of the epsilons that their trainings state: basic composition (Dwork et al. 2006), an upper bound.
    epsilon: float
    #: Sum of their deltas.
    delta: float
    #: Those of them that state none: nothing bounds what they tell.
    without_epsilon: int


def privacy_of(figures: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """What a training's figures say of differential privacy (epsilon, delta, ...); empty where it was none."""
    stated: Mapping[str, Any] | None = (figures or {}).get("privacy")
    return stated or {}


class Budget(LedgerBase):
    """Sums over what left."""

    #: Data set (or `*`) to the most that its submissions may spend together, per identity.
    privacy_budget: Mapping[str, float] = {}

    def __init__(self, engine: Engine, *, lease_seconds: float = 30.0, max_attempts: int = 5) -> None:
        """As `LedgerBase`."""
        super().__init__(engine, lease_seconds=lease_seconds, max_attempts=max_attempts)
        miner, dataset, run = (bindparam(name, type_=String) for name in ("its_miner", "its_set", "its_id"))
        left = _left(runs.c.miner == miner, runs.c.dataset == dataset, runs.c.run_id != run)
        self._others = Prepared(engine, left.with_only_columns(cast(outputs.c.figures, Text)))
        trained = (outputs.c.run_id == run, outputs.c.stage == Stage.TRAIN.value)
        self._trained = Prepared(engine, select(cast(outputs.c.figures, Text)).where(*trained))

    def spent(self) -> list[Spent]:
        """Every identity's data sets from which something left, by name."""
        with self._reading() as db:
            rows = db.execute(_left().order_by(runs.c.miner_name, runs.c.dataset)).all()
        groups: dict[tuple[str, str, str], list[Any]] = {}
        for row in rows:
            groups.setdefault((row.miner, row.miner_name, row.dataset), []).append(row)
        return [_sum(*key, some) for key, some in groups.items()]

    def cap(self, dataset: str) -> float | None:
        """The operator's limit for a data set, None where there is none."""
        return self.privacy_budget.get(dataset, self.privacy_budget.get(ANY))

    def exhausted(self, miner: str, dataset: str) -> str | None:
        """Why no further run over the data set is taken on; None where one is."""
        cap = self.cap(dataset)
        if cap is None:
            return None
        with self._reading() as db:
            used = self._used(db, miner, dataset)
        return (
            None
            if used < cap
            else f"data set {dataset!r} has spent epsilon {used:g} of {cap:g} (FLFLEET_PRIVACY_BUDGET)"
        )

    def _used(self, db: Session, miner: str, dataset: str, but: str = "") -> float:
        rows = self._others.run(db, {"its_miner": miner, "its_set": dataset, "its_id": but}).fetchall()
        used: float = sum(_epsilon(figures) or 0.0 for (figures,) in rows)
        return used

    def _require_budget(self, db: Session, run_id: str, miner: str, dataset: str) -> None:
        """Raises Rejected where the run's submission would go beyond its data set's cap, or nothing bounds it."""
        cap = self.cap(dataset)
        if cap is None:
            return
        trained = self._trained.run(db, {"its_id": run_id}).fetchone()
        own = None if trained is None else _epsilon(trained[0])
        if own is None:
            raise Rejected(
                f"data set {dataset!r} has a cap on epsilon ({cap:g}, FLFLEET_PRIVACY_BUDGET), and this training states "
                "none: it was not differentially private, so nothing is sent"
            )
        used = self._used(db, miner, dataset, but=run_id)
        if used + own > cap:
            raise Rejected(
                f"data set {dataset!r} has spent epsilon {used:g} of {cap:g} (FLFLEET_PRIVACY_BUDGET); "
                f"this run's {own:g} would go beyond it, so nothing is sent"
            )


def _left(*which: ColumnElement[bool]) -> Any:
    """Runs whose payload is noted, each with its training's figures."""
    sent = and_(notes.c.run_id == runs.c.run_id, notes.c.name == PAYLOAD)
    trained = and_(outputs.c.run_id == runs.c.run_id, outputs.c.stage == Stage.TRAIN)
    columns = (runs.c.miner, runs.c.miner_name, runs.c.dataset, runs.c.task_id, outputs.c.figures)
    return select(*columns).select_from(runs.join(notes, sent).outerjoin(outputs, trained)).where(*which)


def _epsilon(figures: str | None) -> float | None:
    """What a training's figures, as JSON, state; None where they state nothing, or there are none."""
    stated: float | None = privacy_of(json.loads(figures) if figures else None).get("epsilon")
    return stated


def _sum(miner: str, miner_name: str, dataset: str, rows: list[Any]) -> Spent:
    spent = [privacy_of(row.figures) for row in rows]
    return Spent(
        miner=miner,
        miner_name=miner_name,
        dataset=dataset,
        tasks=len({row.task_id for row in rows}),
        submissions=len(rows),
        epsilon=sum(each.get("epsilon", 0.0) for each in spent),
        delta=sum(each.get("delta", 0.0) for each in spent),
        without_epsilon=sum("epsilon" not in each for each in spent),
    )
