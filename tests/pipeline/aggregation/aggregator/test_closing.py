"""A round is closed although its aggregator dies at every step."""

import json
import time
from collections.abc import Callable
from contextlib import ExitStack

import numpy as np
import pytest
from sqlalchemy import func, select

from pipeline.aggregation.aggregator import closing
from pipeline.aggregation.aggregator.closing import Closing, close_round
from pipeline.aggregation.aggregator.context import open_desk
from pipeline.aggregation.aggregator.deadlines import rounds_due
from pipeline.aggregation.aggregator.verification import due, verify
from pipeline.aggregation.voting import Outcome
from pipeline.errors import Misconfigured, Retryable
from pipeline.protocol.block import Audit, Block
from pipeline.protocol.encodings import sha256
from pipeline.protocol.submission import Submission
from pipeline.protocol.task import Task
from pipeline.stores.aggregator.rounds import Round, RoundLedger, RoundState
from pipeline.stores.aggregator.submissions import Arrival
from pipeline.stores.db import lease
from pipeline.stores.publisher.tables import issued_keys
from tests.federation import TASK_ID, Federation, encrypted, values_of, wish_of
from tests.signed_tasks import MINERS

STEPS: list[Callable[[Closing], Closing]] = [
    closing.ask,
    closing.receive_key,
    closing.add_up,
    closing.renew_model,
    closing.measure,
    closing.upload,
    closing.form,
    closing.conclude,
]


class Crash(Exception):
    """The process is gone."""


@pytest.fixture(autouse=True)
def _everyone_votes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What votes do is test_voting's; here a round goes through all its steps in one call."""
    monkeypatch.setattr(closing, "outcome", lambda *_: (Outcome.PUBLISHED, "all found it valid"))


def arrive(federation: Federation, one: Submission) -> int:
    """As the service takes a submission, without HTTP."""
    desk = federation.aggregator
    stored = desk.submissions.receive(
        Arrival(
            header=one.header,
            signature=one.signature,
            body=sha256(one.encode()).hex(),
            ciphertext=desk.artifacts.put(one.ciphertext),
            wish=None if one.wish is None else desk.artifacts.put(one.wish),
            received_at=int(time.time()),
        )
    )
    return stored.id


def fill(federation: Federation, task: Task, miners: int = 3) -> None:
    for seed, miner in enumerate(MINERS[:miners]):
        arrive(federation, encrypted(task, miner, values_of(seed), wish=wish_of(seed)))
    for number in due(federation.aggregator, idle_seconds=0):
        verify(federation.aggregator, number)


def found(federation: Federation) -> Round:
    one = federation.aggregator.rounds.find(TASK_ID, 1)
    assert one is not None
    return one


def sums() -> list[int]:
    return np.sum([values_of(seed) for seed in range(3)], axis=0).tolist()


@pytest.fixture
def network(federation: Federation):
    """Backend and publisher at work."""
    with federation.serving("backend"), federation.serving("publisher"), federation.working("publisher_keys"):
        yield federation


@pytest.fixture
def die(monkeypatch):
    """Makes the process die before a step, or after its work but before its result is stored."""

    def arm(victim: Callable[[Closing], Closing], *, is_done: bool) -> ExitStack:
        stack = ExitStack()
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        real = closing.next_step
        host, boot, _, _ = lease.this_process().split("|")
        patch.setattr(lease, "this_process", lambda: f"{host}|{boot}|2147483646|1")

        def crash(*_args: object, **_values: object) -> Round:
            raise Crash

        def crashing(one: Closing) -> Closing:
            if is_done:
                patch.setattr(RoundLedger, "advance", crash)
                patch.setattr(RoundLedger, "store_request", crash)
                return victim(one)
            raise Crash

        patch.setattr(closing, "next_step", lambda one: crashing if real(one) is victim else real(one))
        return stack

    return arm


@pytest.mark.parametrize("is_done", [False, True], ids=["before", "unsaved"])
@pytest.mark.parametrize("victim", STEPS, ids=lambda step: step.__name__)
def test_a_restart_at_any_step_goes_on_to_the_same_sum(network, die, victim, is_done) -> None:
    fill(network, network.open_round())
    with die(victim, is_done=is_done), pytest.raises(Crash):
        close_round(network.aggregator, TASK_ID, 1)
    assert found(network).status in ("AGGREGATING", "AWAITING_VERIFICATION")

    again = open_desk(network.settings("aggregator"))
    assert rounds_due(again, time.time()) == [(TASK_ID, 1)]
    assert close_round(again, TASK_ID, 1)
    again.close()
    row = found(network).row
    assert row.state == RoundState.BACK_TO_TRAINING
    audit = Audit.decode(network.aggregator.artifacts.get(row.audit))
    assert np.frombuffer(audit.aggregate, dtype="<i8").tolist() == sums()
    assert Block.decode(row.block).block_hash == row.block_hash
    with network.publisher.issued._reading() as connection:
        assert connection.execute(select(func.count()).select_from(issued_keys)).scalar_one() == 1


def test_a_closed_round_stays_as_it_is(network) -> None:
    fill(network, network.open_round())
    assert close_round(network.aggregator, TASK_ID, 1)
    block = found(network).row.block_hash
    assert not close_round(network.aggregator, TASK_ID, 1)
    assert found(network).row.block_hash == block
    assert rounds_due(network.aggregator, time.time()) == []


def test_two_workers_do_not_close_one_round(federation) -> None:
    fill(federation, federation.open_round())
    lease = federation.aggregator.rounds.claim(TASK_ID, 1)
    assert lease is not None
    assert not close_round(federation.aggregator, TASK_ID, 1)


def test_a_publisher_that_is_away_is_waited_for(federation) -> None:
    fill(federation, federation.open_round())
    with pytest.raises(Retryable):
        close_round(federation.aggregator, TASK_ID, 1)
    request = found(federation).row.request_hash
    assert request is not None
    assert found(federation).row.reason.startswith("waits: ")
    with federation.serving("backend"), federation.serving("publisher"), federation.working("publisher_keys"):
        assert close_round(federation.aggregator, TASK_ID, 1)
    assert found(federation).row.request_hash == request
    assert found(federation).row.state == RoundState.BACK_TO_TRAINING
    assert found(federation).row.reason is None


def test_missing_validation_data_say_what_to_set_and_the_round_waits(network) -> None:
    fill(network, network.open_round(dataset="nothing"))
    with pytest.raises(Misconfigured):
        close_round(network.aggregator, TASK_ID, 1)
    assert "nothing" in found(network).row.reason
    assert found(network).state is RoundState.CLOSING


def invalid_submission(task: Task, number: int) -> Submission:
    """Masks that are not the sender's: the header names another mask key than the masks were made with.

    The aggregator cannot see it (a and the proof hold for what was encrypted), publisher and aggregator together do.
    """
    from pipeline.nddfe import encrypt as module
    from pipeline.nddfe.context import stream_key

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "stream_key", lambda party, shared, context: stream_key(party, shared, context[::-1]))
        return encrypted(task, MINERS[number], values_of(number), wish=wish_of(number))


def test_submissions_with_invalid_masks_are_taken_out_and_the_rest_is_added_up(network) -> None:
    task = network.open_round(maxMiners=4)
    for seed, miner in enumerate(MINERS[:3]):
        arrive(network, encrypted(task, miner, values_of(seed), wish=wish_of(seed)))
    bad = arrive(network, invalid_submission(task, 3))
    for number in due(network.aggregator, idle_seconds=0):
        verify(network.aggregator, number)
    assert found(network).accepted == 4
    close_round(network.aggregator, TASK_ID, 1)
    assert found(network).row.state == RoundState.BACK_TO_TRAINING
    assert found(network).accepted == 3
    refused = network.aggregator.submissions.find(bad)
    assert refused is not None
    assert "invalid masks" in refused.reasons[0]
    sums_of_block = np.frombuffer(network.aggregator.artifacts.get(found(network).row.aggregate), dtype="<i8")
    assert sums_of_block.tolist() == sums()


def test_too_few_valid_submissions_abort_the_round_with_the_reason(network) -> None:
    task = network.open_round()
    for seed, miner in enumerate(MINERS[:2]):
        arrive(network, encrypted(task, miner, values_of(seed)))
    arrive(network, invalid_submission(task, 2))
    for number in due(network.aggregator, idle_seconds=0):
        verify(network.aggregator, number)
    close_round(network.aggregator, TASK_ID, 1)
    assert found(network).row.state == RoundState.ABORTED
    assert found(network).row.reason == "2 valid submissions, minMiners is 3"


def test_a_key_that_went_to_another_request_aborts_the_round(network) -> None:
    task = network.open_round(maxMiners=4)
    fill(network, task, 4)
    close_round(network.aggregator, TASK_ID, 1)
    desk = network.aggregator
    # As if the aggregator had lost its memory of the round, and one submission with it.
    from pipeline.stores.aggregator.tables import rounds, submissions

    with desk.rounds._writing() as connection:
        blank = {"state": "CLOSING", "request_hash": None, "key": None, "block_hash": None, "aggregate": None}
        connection.execute(rounds.update().values(blank))
        connection.execute(submissions.delete().where(submissions.c.miner == MINERS[3].address))
    close_round(desk, TASK_ID, 1)
    assert found(network).row.state == RoundState.ABORTED
    assert "another request" in found(network).row.reason


def test_at_the_deadline_a_round_closes_with_min_miners(federation) -> None:
    task = federation.open_round(maxMiners=4)
    fill(federation, task)
    assert rounds_due(federation.aggregator, time.time()) == []
    assert rounds_due(federation.aggregator, task.deadline) == [(TASK_ID, 1)]
    assert found(federation).state is RoundState.CLOSING


def test_at_the_deadline_a_round_with_too_few_is_aborted_with_the_reason(federation) -> None:
    task = federation.open_round()
    fill(federation, task, 2)
    assert rounds_due(federation.aggregator, task.deadline) == []
    assert found(federation).row.state == RoundState.ABORTED
    assert found(federation).row.reason == "2 submissions by the deadline, minMiners is 3"


def test_what_came_in_time_counts_though_it_is_verified_after_the_deadline(federation) -> None:
    task = federation.open_round()
    fill(federation, task, 2)
    late = arrive(federation, encrypted(task, MINERS[2], values_of(2)))
    assert rounds_due(federation.aggregator, task.deadline) == []
    assert found(federation).state is RoundState.OPEN
    assert verify(federation.aggregator, late)
    assert found(federation).state is RoundState.CLOSING


def test_a_round_that_takes_workers_down_is_given_up(federation, monkeypatch) -> None:
    fill(federation, federation.open_round())
    host, boot, _, _ = lease.this_process().split("|")
    monkeypatch.setattr(lease, "this_process", lambda: f"{host}|{boot}|2147483646|1")
    for _ in range(closing.MAX_ATTEMPTS):
        assert federation.aggregator.rounds.claim(TASK_ID, 1) is not None
    assert close_round(federation.aggregator, TASK_ID, 1)
    assert found(federation).row.state == RoundState.ABORTED
    assert "without a result" in found(federation).row.reason


def test_reaching_the_expected_accuracy_publishes(network) -> None:
    fill(network, network.open_round(expectedAccuracy=0.0))
    close_round(network.aggregator, TASK_ID, 1)
    assert found(network).status == "PUBLISHED"


def test_the_document_is_kept_with_members_that_nobody_knows(federation) -> None:
    task = federation.open_round(hospitalNote="kept")
    assert json.loads(found(federation).row.document)["hospitalNote"] == "kept"
    assert found(federation).task.task_hash == task.task_hash
