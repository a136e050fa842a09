"""What each data set has given away: submissions that left, and the privacy loss that their trainings state."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, select

from pipeline.errors import Rejected
from pipeline.stores.ledger_base import PAYLOAD, LedgerBase
from pipeline.stores.records import Stage
from pipeline.stores.run_tables import notes, outputs, runs

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

    def _used(self, db: Connection, miner: str, dataset: str, but: str = "") -> float:
        rows = db.execute(_left(runs.c.miner == miner, runs.c.dataset == dataset, runs.c.run_id != but)).all()
        used: float = sum(privacy_of(row.figures).get("epsilon", 0.0) for row in rows)
        return used

    def _require_budget(self, db: Connection, run: Any) -> None:
        """Raises Rejected where the run's submission would go beyond its data set's cap, or nothing bounds it."""
        cap = self.cap(run.dataset)
        if cap is None:
            return
        figures = db.execute(
            select(outputs.c.figures).where(outputs.c.run_id == run.run_id, outputs.c.stage == Stage.TRAIN)
        ).scalar_one_or_none()
        own = privacy_of(figures).get("epsilon")
        if own is None:
            raise Rejected(
                f"data set {run.dataset!r} has a cap on epsilon ({cap:g}, FLFLEET_PRIVACY_BUDGET), and this training states "
                "none: it was not differentially private, so nothing is sent"
            )
        used = self._used(db, run.miner, run.dataset, but=run.run_id)
        if used + own > cap:
            raise Rejected(
                f"data set {run.dataset!r} has spent epsilon {used:g} of {cap:g} (FLFLEET_PRIVACY_BUDGET); "
                f"this run's {own:g} would go beyond it, so nothing is sent"
            )


def _left(*which: ColumnElement[bool]) -> Any:
    """Runs whose payload is noted, each with its training's figures."""
    sent = and_(notes.c.run_id == runs.c.run_id, notes.c.name == PAYLOAD)
    trained = and_(outputs.c.run_id == runs.c.run_id, outputs.c.stage == Stage.TRAIN)
    columns = (runs.c.miner, runs.c.miner_name, runs.c.dataset, runs.c.task_id, outputs.c.figures)
    return select(*columns).select_from(runs.join(notes, sent).outerjoin(outputs, trained)).where(*which)


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
