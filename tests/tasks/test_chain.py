import time

import pytest

from pipeline.errors import Rejected, Retryable
from pipeline.stages.contract import Output, Stage
from pipeline.stores.db.owners import this_process
from pipeline.stores.fleet.records import State
from tasks.app import app
from tasks.chain import remaining, start
from tasks.holdings import artifacts
from tests.signed_tasks import MINERS, make_task

GONE = "|".join([*this_process().split("|")[:2], "4194303", "1"])


def add(ledger, **changes) -> str:
    run_id = ledger.add_run(make_task(**changes), MINERS[0].address, "miner", max_submissions=9)
    assert run_id is not None
    return run_id


def sweep() -> str:
    return app.tasks["flfleet.sweep"].apply().get()


def wait_for(ledger, run_id, *states, seconds=30.0):
    until = time.monotonic() + seconds
    while (run := ledger.run(run_id)).state not in states and time.monotonic() < until:
        time.sleep(0.01)
    assert run.state in states, run
    return run


def sweep_until(ledger, run_id, state, seconds=30.0):
    until = time.monotonic() + seconds
    while (run := ledger.run(run_id)).state != state and time.monotonic() < until:
        sweep()
        time.sleep(0.02)
    assert run.state == state, run
    return run


def test_a_chain_takes_a_run_through_every_stage(worker, fleet, stages):
    seen = []

    def note(stage):
        def run(job):
            seen.append(stage)
            return Output(
                artifacts={f"from-{stage}": artifacts().put(stage.encode())}, figures={stage.value: job.task.round}
            )

        return run

    for stage in Stage:
        stages[stage] = note(stage)
    run_id = add(fleet)
    start(run_id, Stage.FETCH, 0)
    run = wait_for(fleet, run_id, State.ACCEPTED)
    assert seen == list(Stage)
    assert run.token == 7
    assert set(run.artifacts) == {f"from-{stage}" for stage in Stage}


def test_two_chains_of_one_run_do_its_stages_once(worker, fleet, stages):
    seen = []
    for stage in Stage:
        stages[stage] = lambda job, stage=stage: seen.append(stage) or Output()
    run_id = add(fleet)
    start(run_id, Stage.FETCH, 0)
    start(run_id, Stage.FETCH, 0)
    wait_for(fleet, run_id, State.ACCEPTED)
    time.sleep(0.1)
    assert seen == list(Stage)


def test_a_failed_stage_ends_its_chain(worker, fleet, stages):
    seen = []

    def refusing(_job):
        raise Rejected("no")

    stages[Stage.DATA] = refusing
    stages[Stage.TRAIN] = lambda job: seen.append(job) or Output()
    run_id = add(fleet)
    start(run_id, Stage.FETCH, 0)
    wait_for(fleet, run_id, State.REJECTED)
    time.sleep(0.1)
    assert seen == []


def test_a_damaged_artifact_is_made_again_and_the_run_goes_on(worker, fleet, stages):
    store = artifacts()

    def train(job):
        return Output(artifacts={"delta": store.put(b"delta")})

    def compress(job):
        if not made:
            store.delete(job.inputs["delta"])
            made.append(True)
        store.get(job.inputs["delta"])
        return Output()

    made = []
    stages[Stage.TRAIN], stages[Stage.COMPRESS] = train, compress
    run_id = add(fleet)
    start(run_id, Stage.FETCH, 0)
    run = wait_for(fleet, run_id, State.ACCEPTED)
    # Seven stages, train and compress once more.
    assert run.token == 9


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


@pytest.mark.parametrize("stage", list(Stage))
def test_a_chain_holds_the_stages_that_remain_each_on_its_queue(stage):
    chain = remaining("r1", stage, 3)
    steps = list(chain.tasks) if hasattr(chain, "tasks") else [chain]
    expected = list(Stage)[list(Stage).index(stage) :]
    assert [step.task for step in steps] == [f"flfleet.{name}" for name in expected]
    routes = [app.amqp.router.route({}, step.task)["queue"].name for step in steps]
    assert routes == expected
    assert [step.options["task_id"] for step in steps] == [f"r1.{name}.3" for name in expected]
    assert all(step.immutable and step.args == ("r1",) for step in steps)
