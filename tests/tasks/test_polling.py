import time

import pytest

from pipeline.settings import current
from pipeline.stages.contract import Stage
from pipeline.stores.fleet.approvals import Verdict
from pipeline.stores.fleet.controls import Kind
from pipeline.stores.fleet.records import State
from tasks import holdings
from tasks.app import app
from tests.scripted_server import Script, serving
from tests.signed_tasks import MINERS, PUBLISHER, make_task


@pytest.fixture
def poll(fleet, memory_broker, monkeypatch):
    """Polls a board that answers with the given documents."""

    def ask(*documents):
        with serving(Script(answers=[(200, list(documents), {})])) as script:
            monkeypatch.setenv("FLFLEET_BACKEND_URL", script.url)
            current.cache_clear()
            return app.tasks["flfleet.poll"].apply().get()

    return ask


def queued(stage: str = "fetch") -> int:
    with app.connection_for_read() as connection, connection.channel() as channel:
        return channel.queue_declare(queue=stage, durable=True, auto_delete=False).message_count


def test_an_open_task_becomes_one_run_on_its_way(poll, fleet, open_document):
    document = open_document()
    assert poll(document) == "1 open, 1 new runs"
    assert poll(document) == "1 open, 0 new runs"
    (run,) = fleet.runs()
    assert (run.state, run.stage, run.miner) == (State.QUEUED, Stage.FETCH, MINERS[0].address)
    assert queued() == 1


def test_a_refusal_is_visible_and_written_once(poll, fleet, open_document, monkeypatch):
    document = open_document(dimension=10)
    poll(document)
    (first,) = fleet.refusals()
    assert "FLFLEET_MIN_COORDINATES" in first.reasons[0]
    poll(document)
    assert fleet.refusals() == [first]
    assert fleet.runs() == []
    # The operator lowers the floor: the task runs, and the refusal goes.
    monkeypatch.setenv("FLFLEET_MIN_COORDINATES", "1")
    poll(document)
    assert (len(fleet.runs()), fleet.refusals()) == (1, [])


def test_one_bad_task_does_not_hide_the_others(poll, fleet, open_document):
    assert poll({"taskID": "odd"}, open_document()) == "2 open, 1 new runs"
    (refusal,) = fleet.refusals()
    assert (refusal.task_id, refusal.miner) == ("odd", "")


def test_a_stranger_cannot_take_a_round_before_the_true_task_comes(poll, fleet, open_document):
    stranger = MINERS[3]
    poll(open_document(key=stranger), open_document(key=stranger, tpPublicKey=stranger.public_key), open_document())
    (run,) = fleet.runs()
    assert fleet.task(run.task_hash).publisher_address == PUBLISHER.address


def test_a_second_task_of_a_round_is_refused_and_names_the_first(poll, fleet, open_document):
    poll(open_document())
    poll(open_document(maxMiners=4, modelSHA256="0x" + "cd" * 32))
    (refusal,) = fleet.refusals()
    assert fleet.runs()[0].task_hash in refusal.reasons[0]


def test_a_second_task_over_one_model_is_refused(poll, fleet, open_document):
    poll(open_document(), open_document(taskID="task_002"))
    assert len(fleet.runs()) == 1
    assert "FLFLEET_MAX_SUBMISSIONS_PER_MODEL" in fleet.refusals()[0].reasons[0]


def test_an_expired_task_and_a_data_set_that_is_not_held_make_no_run(poll, fleet, open_document):
    poll(open_document(publishedAt=int(time.time()) - 4000), open_document(taskID="b", dataset="x-rays"))
    assert fleet.runs() == []
    assert {refusal.task_id: refusal.reasons[0][:7] for refusal in fleet.refusals()} == {
        "task_001": "expired",
        "b": "data se",
    }


def test_a_run_that_is_there_is_not_judged_again(poll, fleet, open_document):
    document = open_document()
    fleet.add_run(make_task(publishedAt=document["publishedAt"]), MINERS[0].address, "miner")
    poll(document)
    assert fleet.refusals() == []


def test_with_approval_set_a_run_waits_for_a_person(poll, fleet, open_document, monkeypatch):
    monkeypatch.setenv("FLFLEET_APPROVAL", "true")
    document = open_document()
    assert poll(document) == "1 open, 0 new runs"
    (run,) = fleet.runs()
    assert run.state is State.HELD
    fleet.decide(fleet.task(run.task_hash), Verdict.APPROVED, by="anna", further=True)
    later = open_document(round=2, parentBlockHash="0x" + "0" * 64, modelSHA256="0x" + "cd" * 32)
    assert poll(later) == "1 open, 1 new runs"


def test_a_task_that_was_left_is_refused_with_who_left_it(poll, fleet, open_document):
    fleet.stop(Kind.TASK, "task_001", by="anna", reason="study ended")
    assert poll(open_document()) == "1 open, 0 new runs"
    (refusal,) = fleet.refusals()
    assert "anna left the task on purpose (study ended)" in refusal.reasons[0]


def test_a_task_over_a_data_set_whose_budget_is_spent_is_refused(poll, fleet, open_document, monkeypatch):
    monkeypatch.setenv("FLFLEET_PRIVACY_BUDGET", '{"digits": 0}')
    holdings._ledger.cache_clear()
    assert poll(open_document()) == "1 open, 0 new runs"
    (refusal,) = fleet.refusals()
    assert "FLFLEET_PRIVACY_BUDGET" in refusal.reasons[0]
