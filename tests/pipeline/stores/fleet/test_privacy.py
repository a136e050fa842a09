import pytest

from pipeline.errors import Rejected
from pipeline.stores.db.owners import this_process
from pipeline.stores.fleet.records import Stage
from tests.signed_tasks import MINERS, make_task

ME = this_process()


def send(ledger, name, epsilon=None, miner=0, **changes) -> None:
    """A run up to the moment when its bytes may leave."""
    task = make_task(taskID=name, **changes)
    run_id = ledger.add_run(task, MINERS[miner].address, f"m{miner}", max_submissions=99)
    for stage in list(Stage)[:-1]:
        figures = (
            {"privacy": {"epsilon": epsilon, "delta": 1e-5}} if stage is Stage.TRAIN and epsilon is not None else {}
        )
        ledger.commit(ledger.claim(run_id, stage, ME), {}, figures)
    ledger.note(ledger.claim(run_id, Stage.SUBMIT, ME), "payload", "a" * 64)


def test_epsilons_of_what_left_are_summed_by_identity_and_data_set(ledger):
    send(ledger, "one", 0.5)
    send(ledger, "two", 0.25)
    send(ledger, "three")
    send(ledger, "four", 2.0, miner=1)
    send(ledger, "five", 3.0, dataset="xray")
    spent = {(row.miner_name, row.dataset): row for row in ledger.spent()}
    mine = spent["m0", "digits"]
    assert (mine.epsilon, mine.delta, mine.submissions, mine.tasks, mine.without_epsilon) == (0.75, 2e-5, 3, 3, 1)
    assert (spent["m1", "digits"].epsilon, spent["m0", "xray"].epsilon) == (2.0, 3.0)


def test_what_never_left_has_spent_nothing(ledger):
    ledger.add_run(make_task(), MINERS[0].address, "m0")
    assert ledger.spent() == []


def test_a_cap_stops_the_submission_that_would_go_beyond_it(open_ledger):
    ledger = open_ledger(privacy_budget={"digits": 1.0})
    send(ledger, "one", 0.75)
    with pytest.raises(Rejected, match=r"spent epsilon 0.75 of 1 .*this run's 0.5"):
        send(ledger, "two", 0.5)
    send(ledger, "three", 0.25)
    assert "FLFLEET_PRIVACY_BUDGET" in ledger.exhausted(MINERS[0].address, "digits")
    assert ledger.exhausted(MINERS[1].address, "digits") is None
    send(ledger, "four", 9.0, dataset="xray")


def test_under_a_cap_nothing_leaves_that_no_epsilon_bounds(open_ledger):
    ledger = open_ledger(privacy_budget={"*": 8.0})
    with pytest.raises(Rejected, match="not differentially private"):
        send(ledger, "one")
    assert ledger.spent() == []
