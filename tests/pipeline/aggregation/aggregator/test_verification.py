import time

import pytest

from pipeline.aggregation.aggregator import verification
from pipeline.errors import FleetError, Misconfigured, Retryable
from pipeline.protocol.encodings import sha256
from pipeline.stores.aggregator.submissions import MAX_ATTEMPTS, Arrival, Verdict
from tests.federation import Federation, encrypted, values_of
from tests.signed_tasks import MINERS


def pending(federation: Federation) -> int:
    one = encrypted(federation.open_round(), MINERS[0], values_of(1))
    desk = federation.aggregator
    arrival = Arrival(
        header=one.header,
        signature=one.signature,
        body=sha256(one.encode()).hex(),
        ciphertext=desk.artifacts.put(one.ciphertext),
        wish=None,
        received_at=int(time.time()),
    )
    return desk.submissions.receive(arrival).id


@pytest.mark.parametrize("trouble", [Retryable("the disk is full"), Misconfigured("the key's password is gone")])
def test_the_aggregators_own_trouble_never_counts_against_a_submission(
    federation: Federation, monkeypatch: pytest.MonkeyPatch, trouble: FleetError
) -> None:
    number, check = pending(federation), verification.check_parts

    def fail(*_arguments: object) -> None:
        raise trouble

    monkeypatch.setattr(verification, "check_parts", fail)
    for _ in range(MAX_ATTEMPTS + 2):
        with pytest.raises(type(trouble)):
            verification.verify(federation.aggregator, number)
    monkeypatch.setattr(verification, "check_parts", check)
    verification.verify(federation.aggregator, number)
    stored = federation.aggregator.submissions.find(number)
    assert stored is not None
    assert stored.state is Verdict.ACCEPTED
