import time

from pipeline.stages.contract import Stage
from pipeline.stores.db.owners import this_process
from pipeline.stores.fleet.records import State
from tasks.app import app
from tasks.chain import start
from tasks.queues import queue_depths
from tests.signed_tasks import MINERS, make_task

GONE = "|".join([*this_process().split("|")[:2], "4194303", "1"])


def add(ledger, **changes) -> str:
    run_id = ledger.add_run(make_task(**changes), MINERS[0].address, "miner", max_submissions=9)
    assert run_id is not None
    return run_id


def sweep() -> str:
    return app.tasks["flfleet.sweep"].apply().get()


def test_a_queue_that_is_only_long_is_left_alone(fleet, memory_broker):
    start(add(fleet), Stage.FETCH, 0)
    time.sleep(0.15)  # longer than two sweeps
    assert queue_depths()["fetch"] == 1
    assert sweep() == "0 driven again"
    with app.connection_for_write() as connection, connection.channel() as channel:
        channel.queue_purge("fetch")
    assert sweep() == "1 driven again"


def test_a_run_past_its_deadline_is_expired_and_sent_nowhere(fleet, memory_broker):
    run_id = add(fleet, publishedAt=int(time.time()) - 4000)
    assert sweep() == "0 driven again"
    assert fleet.run(run_id).state == State.EXPIRED


def test_a_broker_that_is_away_does_not_stop_the_sweep_from_looking(fleet, memory_broker, monkeypatch):
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    away = app.connection_for_read(f"redis://127.0.0.1:{port}/0", transport_options={"socket_timeout": 1})
    monkeypatch.setattr(app, "connection_for_read", lambda: away)
    assert queue_depths() is None
