from types import SimpleNamespace

import pytest

from pipeline.aggregation.publisher.issuing import issue
from pipeline.protocol.function_key import KeyRequest
from pipeline.stores.db.engine import open_database
from pipeline.stores.publisher.issued_keys import MAX_ATTEMPTS, IssuedLedger


@pytest.fixture
def request_and_ledger(tmp_path):
    document = {"taskID": "task_001", "round": 1, "taskHash": "0x" + "11" * 32, "submissions": [], "maskSums": []}
    request = KeyRequest.from_envelope({"request": document, "signature": "0x"})
    ledger = IssuedLedger(open_database(f"sqlite:///{tmp_path / 'ledger.sqlite'}"))
    ledger.receive(request)
    yield request, ledger
    ledger.close()


def test_a_request_that_kills_its_worker_again_and_again_is_refused_with_the_reason(request_and_ledger) -> None:
    request, ledger = request_and_ledger
    ledger.lease_seconds = -1
    for _ in range(MAX_ATTEMPTS):
        ledger.claim(request.request_hash)
    ledger.lease_seconds = 30
    # No plan is read and no key is used: a desk that has none would fail.
    issue(SimpleNamespace(issued=ledger), request.request_hash)
    refusal = ledger.answer(request.request_hash)
    assert refusal.status == 422
    assert refusal.reasons == [
        f"work on this request ended {MAX_ATTEMPTS} times without a result; the publisher's log says how"
    ]
    assert ledger.pending() == []
