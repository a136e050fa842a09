"""What the audit log is told on a run's way: that a model was trained, that an update leaves, that it was received.

Each is a line in the transaction of what it tells: without it, neither the output nor the note stands.
"""

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Engine, String, bindparam, select

from pipeline.stores.db.session import Prepared, Session
from pipeline.stores.fleet.audit import AuditLog
from pipeline.stores.fleet.base import ADMISSION_LOCK
from pipeline.stores.fleet.privacy import Budget, privacy_of
from pipeline.stores.fleet.records import Claim, Stage
from pipeline.stores.fleet.tables import runs

#: What a line says of its run, and the columns that know it.
_NAMED = {"task": "task_id", "round": "round", "miner": "miner", "name": "miner_name", "dataset": "dataset"}


class Telling(AuditLog, Budget):
    """The lines of a run. All statements are prepared: they stand in every run's way."""

    def __init__(self, engine: Engine, *, lease_seconds: float = 30.0, max_attempts: int = 5) -> None:
        """As `LedgerBase`."""
        super().__init__(engine, lease_seconds=lease_seconds, max_attempts=max_attempts)
        named = select(*(runs.c[column] for column in _NAMED.values()))
        self._named = Prepared(engine, named.where(runs.c.run_id == bindparam("its_id", type_=String)))

    def _tell(self, db: Session, claim: Claim, figures: Mapping[str, Any]) -> None:
        """A line about the stage's output, where it is one that people ask for. `db`: the transaction of its commit."""
        if claim.stage is Stage.TRAIN:
            stated = {"epochs": figures.get("epochs"), **privacy_of(figures)}
            told = {name: stated[name] for name in ("epochs", "epsilon", "delta") if stated.get(name) is not None}
            # The data set's digest is the figure of a stage that is finished, so the claim knows it.
            of = self._members(db, claim) | {"datasetDigest": claim.figures.get("dataset")}
            self._record(db, "trained", **of, **told)
        elif claim.stage is Stage.SUBMIT:
            told = {name: figures.get(name) for name in ("submissionHash", "payloadBytes", "receivedAt")}
            self._record(db, "update received", **self._members(db, claim), **told)

    def _may_leave(self, db: Session, claim: Claim, payload: str) -> None:
        """A line that bytes leave from now on. Raises Rejected where a cap on epsilon forbids them."""
        self._lock(db, ADMISSION_LOCK)  # two runs must not spend the same rest of a budget
        of = self._members(db, claim)
        self._require_budget(db, of["run"], of["miner"], of["dataset"])
        document = json.loads(self._document.run(db, {"its_hash": claim.task_hash}).fetchone()[0])
        to = {"aggregator": document["aggregatorURL"], "aggregatorPublicKey": document["aggregatorPublicKey"]}
        self._record(db, "update leaves", **of, **to, payload=payload)

    def _members(self, db: Session, claim: Claim) -> dict[str, Any]:
        row = self._named.run(db, {"its_id": claim.run_id}).fetchone()
        return {"run": claim.run_id, **dict(zip(_NAMED, row, strict=True))}
