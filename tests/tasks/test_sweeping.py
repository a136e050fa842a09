import time

import pytest

from pipeline.stages.contract import Output, Stage
from pipeline.stores.owners import this_process
from pipeline.stores.records import State
from tasks.app import app
from tasks.chain import start
from tasks.sweeping import queue_depths
from tests.signed_tasks import MINERS, make_task

GONE = "|".join([*this_process().split("|")[:2], "4194303", "1"])


def add(ledger, **changes) -> str:
    run_id = ledger.add_run(make_task(**changes), MINERS[0].address, "miner", max_submissions=9)
    assert run_id is not None
    return run_id


def sweep() -> str:
    return app.tasks["flfleet.sweep"].apply().get()


def sweep_until(ledger, run_id, state, seconds=10.0):
    until = time.monotonic() + seconds
    while (run := ledger.run(run_id)).state != state and time.monotonic() < until:
        sweep()
        time.sleep(0.02)
    assert run.state == state, run
    return run


def test_a_run_whose_worker_died_goes_on(worker, fleet):
    run_id = add(fleet)
    assert fleet.claim(run_id, "fetch", GONE)
    assert sweep() == "1 driven again"
    assert sweep_until(fleet, run_id, State.ACCEPTED).token == 8


def test_a_run_whose_message_was_lost_goes_on_where_it_stood(worker, fleet, stages):
    seen = []
    stages[Stage.FETCH] = lambda job: seen.append(job) or Output()
    run_id = add(fleet)
    fleet.commit(fleet.claim(run_id, "fetch", this_process()), {}, {})
    sweep_until(fleet, run_id, State.ACCEPTED)
    assert seen == []


def test_a_run_that_waited_is_asked_again_until_it_works(worker, fleet, stages):
    from pipeline.errors import Retryable

    tries = []

    def busy(job):
        tries.append(time.monotonic())
        if len(tries) < 4:
            raise Retryable("busy")
        return Output()

    stages[Stage.SUBMIT] = busy
    run_id = add(fleet)
    start(run_id, Stage.FETCH, 0)
    assert sweep_until(fleet, run_id, State.ACCEPTED).attempts == 0
    assert len(tries) == 4


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


@pytest.mark.parametrize("stage", list(Stage))
def test_a_chain_holds_the_stages_that_remain_each_on_its_queue(stage):
    from tasks.chain import remaining

    chain = remaining("r1", stage, 3)
    steps = list(chain.tasks) if hasattr(chain, "tasks") else [chain]
    expected = list(Stage)[list(Stage).index(stage) :]
    assert [step.task for step in steps] == [f"flfleet.{name}" for name in expected]
    routes = [app.amqp.router.route({}, step.task)["queue"].name for step in steps]
    assert routes == expected
    assert [step.options["task_id"] for step in steps] == [f"r1.{name}.3" for name in expected]
    assert all(step.immutable and step.args == ("r1",) for step in steps)
