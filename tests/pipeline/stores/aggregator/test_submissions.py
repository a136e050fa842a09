import time

import pytest

from pipeline.errors import Retryable
from pipeline.protocol.signing import canonical
from pipeline.protocol.submission import Header, Receipt
from pipeline.stores.aggregator.rounds import RoundLedger, RoundState
from pipeline.stores.aggregator.submissions import MAX_REFUSED, Arrival, Closed, SubmissionLedger, Verdict
from pipeline.stores.db.engine import open_database
from pipeline.stores.db.party_ledger import Conflict
from tests.signed_tasks import AGGREGATOR, MINERS, make_task

#: Made once: every call would sign another publishedAt.
TASK = make_task(maxMiners=3)


@pytest.fixture
def ledgers(ledger_url):
    engine = open_database(ledger_url)
    rounds, submissions = RoundLedger(engine), SubmissionLedger(engine)
    rounds.adopt(TASK, model="ab", support=None, coordinates=TASK.dimension)
    yield rounds, submissions
    rounds.close()


def arrival(number: int, score: str = "11", body: str = "b", mask: int | None = None) -> Arrival:
    miner = MINERS[number]
    document = {
        "protocol": "ndd-fe/1",
        "taskID": TASK.task_id,
        "round": 1,
        "taskHash": TASK.task_hash,
        "miner": miner.address,
        "minerPublicKey": miner.public_key,
        "maskKey": "0x" + MINERS[number if mask is None else mask].point33.hex(),
        "ciphertextHash": "0x" + "22" * 32,
        "scoreCommit": "0x" + score * 32,
        "proof": {"t": "0x" + miner.point33.hex(), "a": "0x" + "00" * 32, "z": "0x" + "00" * 32},
    }
    return Arrival(
        header=Header.from_document(document),
        signature="0x" + "00" * 65,
        body=body,
        ciphertext=f"c{number}{score}",
        wish=None,
        received_at=int(time.time()),
    )


def accept(submissions: SubmissionLedger, one: Arrival) -> bool:
    stored = submissions.claim(submissions.receive(one).id)
    assert stored is not None
    body = {"submissionHash": one.header.submission_hash, "receivedAt": one.received_at}
    receipt = Receipt.decode(canonical(body | {"signature": AGGREGATOR.sign("receipt", body)}))
    return submissions.accept(stored, receipt)


def test_the_last_submission_closes_the_round_and_no_other_one_comes_in(ledgers) -> None:
    rounds, submissions = ledgers
    assert [accept(submissions, arrival(number)) for number in range(3)] == [False, False, True]
    assert rounds.find("task_001", 1).state is RoundState.CLOSING
    with pytest.raises(Closed):
        submissions.receive(arrival(3))
    assert [one.header.miner for one in submissions.accepted("task_001", 1)] == [one.address for one in MINERS[:3]]


def test_one_that_was_pending_when_the_round_closed_is_not_accepted(ledgers) -> None:
    _, submissions = ledgers
    late = submissions.claim(submissions.receive(arrival(3)).id)
    for number in range(3):
        accept(submissions, arrival(number))
    with pytest.raises(Closed):
        submissions.accept(late, Receipt(document={}, submission_hash="", received_at=0))


def test_the_same_arrival_is_the_same_submission(ledgers) -> None:
    _, submissions = ledgers
    one = arrival(0)
    assert submissions.receive(one).id == submissions.receive(one).id
    assert len(submissions.pending()) == 1


def test_while_one_is_pending_another_one_of_that_miner_waits(ledgers) -> None:
    _, submissions = ledgers
    submissions.receive(arrival(0))
    with pytest.raises(Retryable):
        submissions.receive(arrival(0, score="33"))


def test_once_one_is_in_another_one_of_that_miner_is_a_conflict(ledgers) -> None:
    _, submissions = ledgers
    accept(submissions, arrival(0))
    with pytest.raises(Conflict, match="duplicate"):
        submissions.receive(arrival(0, score="33"))
    # Under whatever bytes the same header comes, the receipt is the same.
    assert submissions.known(arrival(0).header, "other bytes").state is Verdict.ACCEPTED


def test_a_refusal_is_of_those_bytes_and_keeps_its_reasons(ledgers) -> None:
    _, submissions = ledgers
    stored = submissions.claim(submissions.receive(arrival(0, body="broken on the way")).id)
    assert submissions.refuse(stored, 422, ["one", "two"]) == ["c011"]
    found = submissions.find(stored.id)
    assert (found.state, found.status, list(found.reasons)) == (Verdict.REFUSED, 422, ["one", "two"])
    assert not accept(submissions, arrival(0, body="whole"))


def test_bytes_that_another_submission_needs_are_not_free(ledgers) -> None:
    _, submissions = ledgers
    first = submissions.claim(submissions.receive(arrival(0, body="broken")).id)
    submissions.refuse(first, 422, ["broken"])
    second = submissions.claim(submissions.receive(arrival(0, body="whole")).id)
    third = submissions.claim(submissions.receive(arrival(1)).id)
    assert submissions.refuse(third, 422, ["no"]) == ["c111"]
    with submissions._writing() as connection:
        assert not submissions._is_free(connection, second.ciphertext)


def test_too_many_refusals_end_it_for_the_round(ledgers) -> None:
    _, submissions = ledgers
    for number in range(MAX_REFUSED):
        submissions.refuse(submissions.claim(submissions.receive(arrival(0, body=str(number))).id), 422, ["no"])
    with pytest.raises(Conflict, match="refused"):
        submissions.receive(arrival(0, body="at last"))


def test_a_mask_key_comes_once_in_a_round(ledgers) -> None:
    _, submissions = ledgers
    accept(submissions, arrival(0))
    with pytest.raises(Conflict, match="maskKey"):
        accept(submissions, arrival(1, mask=0))


def test_a_forgotten_submission_may_come_again(ledgers) -> None:
    _, submissions = ledgers
    stored = submissions.claim(submissions.receive(arrival(0)).id)
    submissions.forget(stored)
    assert submissions.find(stored.id) is None
    assert not accept(submissions, arrival(0))


def test_submissions_outlive_their_process(ledgers, ledger_url) -> None:
    _, submissions = ledgers
    accept(submissions, arrival(0))
    again = SubmissionLedger(open_database(ledger_url))
    (found,) = again.accepted("task_001", 1)
    assert found.header.document == arrival(0).header.document
    assert found.receipt is not None
    again.close()
