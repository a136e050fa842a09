from collections.abc import Iterator
from contextlib import ExitStack

import kombu.pools
import pytest

from tasks.app import app
from tests.attacks.scene import Scene
from tests.federation import Federation
from tests.federation import federation as federation


def _forget_connections() -> None:
    kombu.pools.reset()
    app._pool = None
    app.amqp._producer_pool = None


@pytest.fixture(scope="package", autouse=True)
def _memory_broker() -> Iterator[None]:
    """Hints go into a queue that nobody reads: the scene's workers look into the ledgers."""
    before = app.conf.broker_url
    app.conf.update(broker_url="memory://")
    _forget_connections()
    yield
    app.conf.update(broker_url=before)
    _forget_connections()


@pytest.fixture
def scene(federation: Federation) -> Iterator[Scene]:
    with ExitStack() as stack:
        one = Scene(federation, stack)
        yield one
        one.end()
