"""The backend's memory: an untrusted board of signed tasks. Model files lie in its artifact store, by SHA-256.

One task for every (taskID, round), for ever; its text is kept as it came, so that its hash stays.
"""

from sqlalchemy import Engine, func, select

from pipeline.protocol.task import Task
from pipeline.stores.backend.tables import board_tasks as _tasks
from pipeline.stores.backend.tables import metadata
from pipeline.stores.db.party_ledger import Conflict, PartyLedger


class Board(PartyLedger):
    """Tasks by (taskID, round)."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine, metadata)

    def post(self, task: Task, text: str) -> bool:
        """Keeps a task's JSON text; False if that very task is there already. Raises Conflict for another one."""
        with self._writing(durable=True) as connection:
            found = connection.execute(
                select(_tasks.c.task_hash).where(_tasks.c.task_id == task.task_id, _tasks.c.round == task.round)
            ).scalar_one_or_none()
            if found is None:
                connection.execute(
                    _tasks.insert().values(
                        task_id=task.task_id,
                        round=task.round,
                        task_hash=task.task_hash,
                        document=text,
                        deadline=task.deadline,
                    )
                )
        if found not in (None, task.task_hash):
            raise Conflict(f"round {task.round} of {task.task_id} has the task {found}, and keeps it")
        return found is None

    def open_tasks(self, now: int) -> list[str]:
        """The JSON texts of each task's newest round, where its deadline is not over."""
        newest = select(_tasks.c.task_id, func.max(_tasks.c.round).label("round")).group_by(_tasks.c.task_id).subquery()
        rows = (
            select(_tasks.c.document)
            .join(newest, (newest.c.task_id == _tasks.c.task_id) & (newest.c.round == _tasks.c.round))
            .where(_tasks.c.deadline > now)
            .order_by(_tasks.c.task_id)
        )
        with self._reading() as connection:
            return list(connection.execute(rows).scalars())

    def newest(self, task_id: str) -> str | None:
        """The JSON text of a task's newest round."""
        rows = select(_tasks.c.document).where(_tasks.c.task_id == task_id).order_by(_tasks.c.round.desc()).limit(1)
        with self._reading() as connection:
            return connection.execute(rows).scalar_one_or_none()
