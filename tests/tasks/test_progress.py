import socket

import pytest
import redis
from celery import Celery

from pipeline.stages.contract import Stage
from pipeline.stores.db.owners import this_process
from tasks.leases import RenewedLease
from tasks.progress import Progress
from tests.signed_tasks import MINERS, make_task


@pytest.fixture
def without_broker():
    """A task that is being worked on while nobody listens at its broker's address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        app = Celery("t", broker=f"redis://127.0.0.1:{free.getsockname()[1]}/0", set_as_current=False)

    @app.task(bind=True, shared=False)
    def work(self):
        raise AssertionError

    work.push_request(id="one", called_directly=False, is_eager=False)
    yield work
    work.pop_request()
    app.close()


def test_a_training_goes_on_while_the_broker_is_away(fleet, without_broker):
    run_id = fleet.add_run(make_task(), MINERS[0].address, "miner")
    claim = fleet.claim(run_id, Stage.FETCH, this_process())
    with RenewedLease(fleet, claim) as lease:
        Progress(without_broker, fleet, claim, lease)({"epoch": 3})
    assert fleet.run(run_id).progress == {"epoch": 3}


def test_nor_does_it_fail_when_a_connection_breaks_that_was_there(fleet, without_broker, monkeypatch):
    run_id = fleet.add_run(make_task(), MINERS[0].address, "miner")
    claim = fleet.claim(run_id, Stage.FETCH, this_process())

    def send_event(*_arguments, **_options):
        raise redis.exceptions.ConnectionError("Error 111 connecting to 127.0.0.1:6379. Connection refused.")

    monkeypatch.setattr(without_broker, "send_event", send_event)
    with RenewedLease(fleet, claim) as lease:
        Progress(without_broker, fleet, claim, lease)({"epoch": 3})
    assert fleet.run(run_id).progress == {"epoch": 3}
