from collections.abc import Iterator
from pathlib import Path

import kombu.pools
import pytest

from tasks.app import app
from tests.federation import Federation


@pytest.fixture(scope="package", autouse=True)
def _memory_broker() -> Iterator[None]:
    """Hints go into a queue that nobody reads: the tests' workers look into the ledgers."""
    before = app.conf.broker_url
    app.conf.update(broker_url="memory://")
    app.pool.force_close_all()
    app._pool = None
    app.amqp._producer_pool = None
    kombu.pools.reset()
    yield
    app.conf.update(broker_url=before)
    app.pool.force_close_all()
    app._pool = None
    app.amqp._producer_pool = None
    kombu.pools.reset()


@pytest.fixture
def federation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Federation]:
    one = Federation(tmp_path / "federation", monkeypatch)
    yield one
    one.close()
