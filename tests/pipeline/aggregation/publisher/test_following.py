import dataclasses
import time

import numpy as np
import pytest
import requests

from pipeline.aggregation.aggregator.closing import close_round
from pipeline.aggregation.aggregator.verification import due, receipt_of, verify
from pipeline.aggregation.publisher.following import follow
from pipeline.errors import Rejected, Retryable
from pipeline.protocol.block import Audit, Block
from pipeline.protocol.encodings import keccak256, sha256, to_hex
from pipeline.protocol.signing import canonical
from pipeline.protocol.vote import Vote
from pipeline.stores.aggregator.submissions import Arrival
from pipeline.stores.aggregator.tables import rounds
from pipeline.stores.db.party_ledger import Conflict
from pipeline.stores.publisher.plans import PlanState
from tasks.publishing import plan as store_plan
from tests.federation import TASK_ID, Federation, encrypted, initial_model, values_of, wish_of
from tests.signed_tasks import AGGREGATOR, MINERS


@pytest.fixture
def network(federation: Federation):
    with federation.serving("backend"), federation.serving("publisher"), federation.serving("aggregator"):
        yield federation


def planned(federation: Federation, *, stop_at_expected: bool = True, ratios: list[float] | None = None, **changes):
    store_plan(
        federation.settings("publisher"),
        document=federation.document(**changes),
        model=initial_model(),
        ratios=ratios,
        stop_at_expected=stop_at_expected,
    )


def plan_of(federation: Federation):
    found = federation.publisher.plans.find(TASK_ID)
    assert found is not None
    return found


def play(federation: Federation, *, are_voting: bool = True) -> None:
    """Round 1 from the signed task to the published block, the publisher not having looked at it yet."""
    follow(federation.publisher, TASK_ID)
    federation.aggregate()
    desk = federation.aggregator
    task = desk.rounds.find(TASK_ID, 1).task
    for seed, miner in enumerate(MINERS[:3]):
        one = encrypted(task, miner, values_of(seed), wish=wish_of(seed))
        desk.submissions.receive(
            Arrival(
                header=one.header,
                signature=one.signature,
                body=sha256(one.encode()).hex(),
                ciphertext=desk.artifacts.put(one.ciphertext),
                wish=desk.artifacts.put(one.wish or b""),
                received_at=int(time.time()),
            )
        )
    for number in due(desk, idle_seconds=0):
        verify(desk, number)
    with federation.working("publisher_keys"):
        close_round(desk, TASK_ID, 1)
    if are_voting:
        federation.vote()
    assert desk.rounds.find(TASK_ID, 1).row.block_hash is not None


def test_a_plan_becomes_a_signed_task_on_the_board_with_its_model(network) -> None:
    planned(network)
    follow(network.publisher, TASK_ID)
    (document,) = requests.get(f"{network.urls['backend']}/tasks/open", timeout=5).json()
    assert document["taskID"] == TASK_ID
    assert abs(document["publishedAt"] - time.time()) < 30
    assert requests.get(document["modelURL"], timeout=5).content == initial_model()
    # Looking again changes nothing: one task for the round, for ever.
    follow(network.publisher, TASK_ID)
    assert requests.get(f"{network.urls['backend']}/tasks/open", timeout=5).json() == [document]
    assert plan_of(network).reason == "round 1 is open"


def test_a_backend_that_is_away_is_tried_again_with_the_same_task(federation) -> None:
    planned(federation)
    with pytest.raises(Retryable):
        follow(federation.publisher, TASK_ID)
    assert plan_of(federation).state is PlanState.RUNNING
    assert plan_of(federation).reason.startswith("waits:")
    with federation.serving("backend"):
        with pytest.raises(Retryable):  # the aggregator is still away
            follow(federation.publisher, TASK_ID)
        assert len(requests.get(f"{federation.urls['backend']}/tasks/open", timeout=5).json()) == 1


def test_a_published_block_leads_to_the_next_round(network) -> None:
    planned(network, ratios=[0.5, 0.25])
    play(network)
    follow(network.publisher, TASK_ID)
    signed = network.publisher.plans.signed(TASK_ID)
    row = network.aggregator.rounds.find(TASK_ID, 1).row
    assert signed.task.round == 2
    assert signed.posted
    assert signed.task.parent_block_hash == row.block_hash
    assert signed.task.model_sha256.hex() == row.new_model
    assert signed.task.ratio == 0.25
    assert signed.task.support.hash == to_hex(keccak256(network.aggregator.artifacts.get(row.next_support)))


@pytest.mark.parametrize(("stop", "state"), [(True, PlanState.DONE), (False, PlanState.RUNNING)])
def test_at_the_expected_accuracy_a_plan_ends_unless_it_is_to_go_on(network, stop, state) -> None:
    planned(network, stop_at_expected=stop, expectedAccuracy=0.0)
    play(network)
    follow(network.publisher, TASK_ID)
    assert plan_of(network).state is state
    assert network.publisher.plans.signed(TASK_ID).task.round == (1 if stop else 2)


def test_the_last_round_ends_the_plan(network) -> None:
    planned(network, maxRounds=1)
    play(network)
    follow(network.publisher, TASK_ID)
    assert plan_of(network).state is PlanState.DONE


def test_an_aborted_round_stops_the_plan_and_says_so(network) -> None:
    planned(network)
    follow(network.publisher, TASK_ID)
    network.aggregate()
    network.aggregator.rounds.abort_open(TASK_ID, 1, reason="too few")
    follow(network.publisher, TASK_ID)
    assert plan_of(network).state is PlanState.STOPPED
    assert "ABORTED" in plan_of(network).reason


def forged(network: Federation, alter) -> None:
    """Puts another block in the place of the right one, signed by the aggregator itself."""
    desk = network.aggregator
    row = desk.rounds.find(TASK_ID, 1).row
    audit = Audit.decode(desk.artifacts.get(row.audit))
    document, audit = alter(Block.decode(row.block).document, audit)
    document = {name: value for name, value in document.items() if name != "signature"}
    document["signature"] = AGGREGATOR.sign("block", document)
    block = Block.decode(canonical(document))
    values = {
        "block": canonical(document).decode(),
        "block_hash": block.block_hash,
        "audit": desk.artifacts.put(audit.encode()),
    }
    with desk.rounds._writing() as connection:
        connection.execute(rounds.update().values(values))
    # Participants that find anything valid do not help it.
    for miner in MINERS[:3]:
        desk.verdicts.cast(Vote.make(block, "VALID", [], miner), int(time.time()))


def other_sum(document, audit):
    sums = np.frombuffer(audit.aggregate, dtype="<i8").copy()
    sums[0] = 0 if sums[0] else 1
    return document | {"aggregateHash": to_hex(keccak256(sums.tobytes()))}, dataclasses.replace(
        audit, aggregate=sums.tobytes()
    )


@pytest.mark.parametrize(
    ("alter", "reason"),
    [
        (lambda document, audit: (document | {"modelHash": "0x" + "11" * 32}, audit), "modelHash"),
        (lambda document, audit: (document | {"nextSupportHash": "0x" + "11" * 32}, audit), "nextSupportHash"),
        (lambda document, audit: (document, dataclasses.replace(audit, wishes=(None, None, None))), "wish"),
        (other_sum, "not the sum"),
    ],
    ids=["another model", "another support", "other wishes", "another sum"],
)
def test_a_block_that_does_not_stand_the_check_stops_the_plan(network, alter, reason) -> None:
    planned(network)
    play(network)
    forged(network, alter)
    follow(network.publisher, TASK_ID)
    assert plan_of(network).state is PlanState.STOPPED
    assert reason in plan_of(network).reason
    assert network.publisher.plans.signed(TASK_ID).task.round == 1


def test_a_block_waits_for_its_votes_and_the_plan_with_it(network) -> None:
    planned(network)
    play(network, are_voting=False)
    assert network.aggregator.rounds.find(TASK_ID, 1).status == "AWAITING_VERIFICATION"
    follow(network.publisher, TASK_ID)
    assert plan_of(network).reason == "round 1 is open"


def test_a_block_that_is_voted_down_stops_the_plan(network) -> None:
    planned(network)
    play(network, are_voting=False)
    network.vote(MINERS[0], verdict="INVALID", reasons=("sum: not the sum",))
    found = network.aggregator.rounds.find(TASK_ID, 1)
    assert found.status == "REJECTED"
    assert "not the sum" in found.row.reason
    follow(network.publisher, TASK_ID)
    assert "REJECTED" in plan_of(network).reason


def test_an_aggregator_that_publishes_without_the_votes_does_not_get_the_next_round(network) -> None:
    planned(network)
    play(network, are_voting=False)
    with network.aggregator.rounds._writing() as connection:
        connection.execute(rounds.update().values(state="PUBLISHED"))
    follow(network.publisher, TASK_ID)
    assert plan_of(network).state is PlanState.STOPPED
    assert "0 of 3 participants found it valid, 3 needed" in plan_of(network).reason


def test_a_plan_is_kept_once_and_another_one_under_its_name_is_a_conflict(federation) -> None:
    planned(federation)
    planned(federation)
    with pytest.raises(Conflict):
        planned(federation, maxRounds=3)
    with pytest.raises(Conflict):
        planned(federation, ratios=[0.1])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"round": 2, "parentBlockHash": "0x" + "11" * 32}, "round 1"),
        ({"modelSHA256": "0x" + "11" * 32}, "modelSHA256"),
        ({"minMiners": 9}, "minMiners"),
        ({"support": {"url": "http://x/", "hash": "0x" + "11" * 32}}, "support"),
    ],
)
def test_a_plan_that_does_not_hold_together_is_refused(federation, changes, reason) -> None:
    with pytest.raises(Rejected, match=reason):
        planned(federation, **changes)
    assert federation.publisher.plans.all() == []


def test_the_receipt_of_a_submission_is_always_the_same(network) -> None:
    planned(network)
    play(network)
    for stored in network.aggregator.submissions.accepted(TASK_ID, 1):
        assert receipt_of(stored, AGGREGATOR).document == receipt_of(stored, AGGREGATOR).document
