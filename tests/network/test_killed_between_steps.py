"""The other parties' workers die by SIGKILL before and after every write of a round: it goes on where it was."""

import signal
import time

import numpy as np
import pytest

from pipeline.aggregation.function_key import build_request
from pipeline.parties.blocks import fetch_audit
from pipeline.protocol.encodings import sha256
from pipeline.protocol.function_key import KeyRequest, SignedHeader
from pipeline.protocol.strict import read_json
from pipeline.stores.aggregator.rounds import RoundState
from pipeline.stores.aggregator.submissions import Arrival, Verdict
from pipeline.stores.db.party_ledger import Conflict
from tests import dying_workers
from tests.federation import KERNEL, TASK_ID, Federation, encrypted, values_of
from tests.signed_tasks import AGGREGATOR, MINERS

pytestmark = [pytest.mark.services, pytest.mark.slow]

KILLED = -signal.SIGKILL
#: What each step of closing a round writes down, in order.
WRITES = ["request_hash", "key", "aggregate", "new_model", "accuracy", "uploaded", "block_hash"]


def keep(federation: Federation, one) -> int:
    """What the service does with a submission, before a worker sees it."""
    artifacts = federation.aggregator.artifacts
    arrival = Arrival(
        header=one.header,
        signature=one.signature,
        body=sha256(one.encode()).hex(),
        ciphertext=artifacts.put(one.ciphertext, durable=True),
        wish=None,
        received_at=int(time.time()),
    )
    return federation.aggregator.submissions.receive(arrival).id


def accepted_round(federation: Federation):
    """A round with three submissions that are in, by a worker that died before and after each verdict."""
    task = federation.open_round()
    sums = np.zeros(task.dimension, dtype=np.int64)
    for seed, miner in enumerate(MINERS[:3]):
        values = values_of(seed)
        one = encrypted(task, miner, values)
        number = keep(federation, one)
        home = federation.folder / "aggregator"
        assert dying_workers.run(dying_workers.verify, home, number, True) == KILLED
        assert federation.aggregator.submissions.find(number).state is Verdict.PENDING
        assert dying_workers.run(dying_workers.verify, home, number, False) == KILLED
        assert federation.aggregator.submissions.find(number).state is Verdict.ACCEPTED
        sums += values
    return task, sums


@pytest.mark.timeout(300)
def test_a_round_survives_a_kill_before_and_after_every_write(federation: Federation) -> None:
    _, sums = accepted_round(federation)
    federation.aggregator.rounds.begin_closing(TASK_ID, 1)
    home = federation.folder / "aggregator"
    with (
        federation.serving("backend"),
        federation.serving("publisher"),
        federation.working("publisher_keys"),
    ):
        for name in WRITES:
            for before in (True, False):
                assert dying_workers.run(dying_workers.close_round, home, TASK_ID, 1, name, before) == KILLED, name
                row = federation.aggregator.rounds.find(TASK_ID, 1).row
                assert bool(getattr(row, name) is not None and getattr(row, name) is not False) is not before, name
        assert dying_workers.run(dying_workers.close_round, home, TASK_ID, 1, None, False) == 0

    found = federation.aggregator.rounds.find(TASK_ID, 1)
    assert found.state is RoundState.AWAITING_VERIFICATION
    assert federation.publisher.issued.answer(found.row.request_hash) is not None
    with federation.serving("aggregator"):
        audit = fetch_audit(federation.urls["aggregator"], found.row.block_hash, max_bytes=10**6, timeout=5)
    assert np.array_equal(np.frombuffer(audit.aggregate, dtype="<i8"), sums)


@pytest.mark.timeout(300)
def test_a_key_is_issued_once_whenever_its_worker_dies(federation: Federation) -> None:
    task, _ = accepted_round(federation)
    federation.aggregator.rounds.begin_closing(TASK_ID, 1)
    arguments = (federation.folder / "aggregator", TASK_ID, 1, "request_hash", False)
    assert dying_workers.run(dying_workers.close_round, *arguments) == KILLED
    request_hash = federation.aggregator.rounds.find(TASK_ID, 1).row.request_hash
    issued, home = federation.publisher.issued, federation.folder / "publisher"
    issued.receive(KeyRequest.from_envelope(read_json(federation.aggregator.rounds.envelope(request_hash))))

    assert dying_workers.run(dying_workers.issue_key, home, request_hash, True) == KILLED
    assert issued.answer(request_hash) is None
    assert issued.pending() == [request_hash]
    assert dying_workers.run(dying_workers.issue_key, home, request_hash, False) == KILLED
    answer = issued.answer(request_hash)
    assert answer is not None
    # Again, by a worker that nobody kills: nothing to do, and nothing else comes out.
    assert dying_workers.run(dying_workers.issue_key, home, request_hash, True) == 0
    assert issued.answer(request_hash) == answer
    others = federation.aggregator.submissions.accepted(TASK_ID, 1)[::-1]
    headers = [SignedHeader(header=one.header, signature=one.signature) for one in others]
    with pytest.raises(Conflict, match="issued"):
        issued.receive(build_request(task, headers, AGGREGATOR, task.groups(task.dimension), KERNEL))
