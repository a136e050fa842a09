import sys
import time
import types
from collections.abc import Callable, Iterator

import kombu.pools
import pytest
from celery.contrib.testing.worker import start_worker
from celery.worker import state as worker_state

from pipeline.settings import current
from pipeline.stages.contract import Job, Output, Stage
from pipeline.stores.fleet.ledger import RunLedger
from tasks import holdings, perform
from tasks.app import app
from tests.signed_tasks import AGGREGATOR, MINERS, PUBLISHER, document

KEY = MINERS[0]


@pytest.fixture
def fleet(monkeypatch, tmp_path) -> Iterator[RunLedger]:
    """A home with one identity that holds `digits` and trusts the tests' parties; its ledger."""
    (tmp_path / "home/data/digits").mkdir(parents=True)
    for name, value in {
        "MINER_PRIVATE_KEY": "0x" + KEY.secret.hex(),
        "TRUSTED_PUBLISHERS": PUBLISHER.address,
        "TRUSTED_AGGREGATORS": AGGREGATOR.address,
        "KNOWN_MINERS": ",".join(miner.address for miner in MINERS),
        "LEASE_SECONDS": "0.6",
        "SWEEP_SECONDS": "0.05",
        "MAX_ATTEMPTS": "3",
    }.items():
        monkeypatch.setenv(f"FLFLEET_{name}", value)
    current.cache_clear()
    holdings._ledger.cache_clear()
    holdings._artifacts.cache_clear()
    holdings.miners.cache_clear()
    monkeypatch.setattr(perform, "FIRST_WAIT_SECONDS", 0.01)
    yield holdings.ledger()
    holdings.ledger().close()
    holdings._ledger.cache_clear()
    current.cache_clear()


@pytest.fixture
def stages(monkeypatch) -> dict[str, Callable[[Job], Output]]:
    """The seven stages' functions, trivial ones; a test puts its own in."""
    functions: dict[str, Callable[[Job], Output]] = {}
    for stage in Stage:
        module = types.ModuleType(f"pipeline.stages.{stage}")
        functions[stage] = lambda job: Output()
        module.run = lambda job, stage=stage: functions[stage](job)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return functions


@pytest.fixture(scope="module")
def memory_app() -> Iterator[None]:
    """The app on kombu's in-memory broker. The miner's own modules are enough for its worker."""
    changes = {
        "broker_url": "memory://",
        "include": ["tasks.stages", "tasks.polling", "tasks.sweeping"],
        "broker_transport_options": {"polling_interval": 0.01},
        "task_publish_retry": False,
    }
    before = {name: app.conf[name] for name in changes}
    app.conf.update(changes)
    _forget_connections()
    app.loader.import_default_modules()
    yield
    app.conf.update(before)
    _forget_connections()


@pytest.fixture
def memory_broker(memory_app) -> None:
    """Its queues, empty."""
    _purge()


@pytest.fixture(scope="module")
def running_worker(memory_app) -> Iterator[None]:
    """A Celery worker in a thread, on every queue; stopping it takes seconds, so a module shares it.

    It starts on empty queues: what another module left would be worked on before any test's fleet stands, and would
    open that module's ledger into the process's cache while the next fleet is being made.
    """
    _purge()
    with start_worker(app, pool="solo", perform_ping_check=False, shutdown_timeout=10, without_heartbeat=True):
        yield


@pytest.fixture
def worker(fleet, stages, memory_broker, running_worker) -> Iterator[None]:
    """The worker at work for this test's fleet and stages; idle again before these go."""
    yield
    _purge()
    until = time.monotonic() + 10
    while worker_state.reserved_requests and time.monotonic() < until:
        time.sleep(0.01)


def _purge() -> None:
    with app.connection_for_write() as connection, connection.channel() as channel:
        for queue in app.amqp.queues:
            channel.queue_purge(queue)


def _forget_connections() -> None:
    kombu.pools.reset()
    app._pool = None
    app.amqp._producer_pool = None


@pytest.fixture
def open_document() -> Callable[..., dict]:
    return document
