"""Workers say in the ledger that they are there: any process may then show them, and nobody has to be asked over the broker."""

import time

from sqlalchemy import delete, select

from pipeline.stores.fleet.base import STAGES, LedgerBase
from pipeline.stores.fleet.records import WorkerSeen
from pipeline.stores.fleet.tables import workers

#: A worker that has not been seen for so long is not shown any more: a container's host name is new with every start.
FORGOTTEN_SECONDS = 3600.0
#: At most so many are read: a page for people.
MOST_WORKERS = 1000


class Presence(LedgerBase):
    """The workers' own words about themselves."""

    def say_present(self, worker: WorkerSeen) -> None:
        """Writes a worker down, in place of what it said before; those that are long silent go."""
        said = {name: getattr(worker, name) for name in worker.__dataclass_fields__} | {"devices": list(worker.devices)}
        with self._transaction() as db:
            insert = self._insert(workers).values(said)
            db.execute(insert.on_conflict_do_update(index_elements=["name"], set_=said))
            db.execute(delete(workers).where(workers.c.seen_at < time.time() - FORGOTTEN_SECONDS))

    def workers(self) -> list[WorkerSeen]:
        """Workers that were seen lately, in the order of the stages and by name."""
        chosen = select(workers).where(workers.c.seen_at >= time.time() - FORGOTTEN_SECONDS)
        with self._reading() as db:
            rows = db.execute(chosen.order_by(workers.c.name).limit(MOST_WORKERS)).all()
        order = {stage.value: place for place, stage in enumerate(STAGES)}
        seen = [WorkerSeen(**row._asdict()) for row in rows]
        return sorted(seen, key=lambda worker: (order.get(worker.pool, len(order)), worker.name))
