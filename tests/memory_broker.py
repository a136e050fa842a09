"""For tests without a broker: hints go into a queue that nobody reads."""

from collections.abc import Iterator

import kombu.pools
import pytest

from tasks.app import app


def _forget_connections() -> None:
    kombu.pools.reset()
    app._pool = None
    app.amqp._producer_pool = None


@pytest.fixture(scope="package", autouse=True)
def memory_broker() -> Iterator[None]:
    """The tests' workers look into the ledgers instead."""
    before = app.conf.broker_url
    app.conf.update(broker_url="memory://")
    _forget_connections()
    yield
    app.conf.update(broker_url=before)
    _forget_connections()
