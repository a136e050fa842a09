"""The floor: a bare Celery chain of seven tasks that do nothing, Celery's own settings, on the fleet's broker."""

from typing import Any

import redis
from celery import Celery, chain

from pipeline.settings import current

STAGES = [f"bare{number}" for number in range(1, 8)]
DONE = "bench.bare.done"

app = Celery("bare", broker=current().broker)
app.conf.update(task_ignore_result=True, task_routes={f"bench.{name}": {"queue": name} for name in STAGES})
_client: Any = None


def _task(name: str) -> None:
    def nothing(_number: int) -> None:
        if name == STAGES[-1]:
            _count()

    app.task(name=f"bench.{name}", shared=False)(nothing)


def _count() -> None:
    """One more chain is through: the only thing that the last task does."""
    global _client
    _client = _client or redis.Redis.from_url(current().broker)
    _client.incr(DONE)


for _name in STAGES:
    _task(_name)


def send(number: int) -> None:
    """Sends one chain."""
    chain(app.signature(f"bench.{name}", args=(number,), immutable=True) for name in STAGES).apply_async()
