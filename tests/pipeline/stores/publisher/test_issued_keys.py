import pytest

from pipeline.protocol.function_key import KeyRequest
from pipeline.stores.db.engine import open_database
from pipeline.stores.db.lease import LeaseLost
from pipeline.stores.db.party_ledger import Conflict
from pipeline.stores.publisher.issued_keys import IssuedKey, IssuedLedger, Refusal


def request(salt: str = "11") -> KeyRequest:
    document = {"taskID": "task_001", "round": 1, "taskHash": "0x" + salt * 32, "submissions": [], "maskSums": []}
    return KeyRequest.from_envelope({"request": document, "signature": "0x"})


@pytest.fixture
def ledger(ledger_url):
    one = IssuedLedger(open_database(ledger_url))
    yield one
    one.close()


def issue(ledger: IssuedLedger, one: KeyRequest) -> None:
    ledger.receive(one)
    pending = ledger.claim(one.request_hash)
    assert pending is not None
    ledger.issue(one, pending.token, key="ab", signature="0x01")


def test_one_key_for_a_round_for_ever(ledger, ledger_url) -> None:
    issue(ledger, request())
    with pytest.raises(Conflict, match="another request"):
        ledger.receive(request("22"))
    again = IssuedLedger(open_database(ledger_url))
    answer = again.answer(request().request_hash)
    assert answer == IssuedKey(request_hash=request().request_hash, key="ab", signature="0x01")
    again.receive(request())
    assert again.claim(request().request_hash) is None
    again.close()


def test_of_two_that_were_received_the_second_gets_none(ledger) -> None:
    ledger.receive(request("22"))
    slow = ledger.claim(request("22").request_hash)
    issue(ledger, request())
    with pytest.raises(Conflict, match="issued already"):
        ledger.issue(request("22"), slow.token, key="cd", signature="0x02")
    assert ledger.answer(request("22").request_hash) is None


def test_a_refusal_is_kept_and_spends_nothing(ledger) -> None:
    ledger.receive(request("22"))
    refusal = Refusal(status=422, reasons=["invalid masks"], invalid=["0xab"])
    ledger.refuse(request("22").request_hash, ledger.claim(request("22").request_hash).token, refusal)
    assert ledger.answer(request("22").request_hash) == refusal
    issue(ledger, request())


def test_pending_are_those_without_an_answer(ledger) -> None:
    ledger.receive(request("22"))
    ledger.receive(request("33"))
    ledger.refuse(
        request("22").request_hash,
        ledger.claim(request("22").request_hash).token,
        Refusal(status=422, reasons=["no"], invalid=[]),
    )
    assert ledger.pending() == [request("33").request_hash]
    issue(ledger, request("33"))
    assert ledger.pending() == []


def test_claims_that_ended_without_a_word_are_counted(ledger) -> None:
    ledger.receive(request())
    ledger.lease_seconds = -1
    claims = [ledger.claim(request().request_hash) for _ in range(3)]
    assert [claim.attempts for claim in claims] == [0, 1, 2]
    ledger.release(request().request_hash, claims[-1].token)
    assert ledger.claim(request().request_hash).attempts == 2


def test_who_lost_the_lease_issues_nothing(ledger) -> None:
    ledger.receive(request())
    ledger.lease_seconds = -1
    slow = ledger.claim(request().request_hash)
    fast = ledger.claim(request().request_hash)
    with pytest.raises(LeaseLost):
        ledger.issue(request(), slow.token, key="ab", signature="0x01")
    ledger.issue(request(), fast.token, key="ab", signature="0x01")


def test_a_request_that_nobody_sent_has_no_answer(ledger) -> None:
    assert ledger.answer("0x" + "00" * 32) is None
    assert ledger.claim("0x" + "00" * 32) is None
