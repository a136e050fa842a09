import time

import pytest

from pipeline.aggregation.aggregator.adoption import adopt
from pipeline.errors import Rejected, Retryable
from pipeline.protocol.encodings import keccak256, to_hex
from pipeline.protocol.signing import SecretKey
from pipeline.protocol.task import Task
from pipeline.stores.db.party_ledger import Conflict
from tests.federation import DIMENSION, TASK_ID, Federation, initial_model, wish_of
from tests.signed_tasks import AGGREGATOR, MINERS, PUBLISHER


def signed_by(key: SecretKey, federation: Federation, **changes: object) -> Task:
    document = federation.document(**changes) | {"publishedAt": int(time.time())}
    return Task.from_document(document | {"signature": key.sign("task", document)})


@pytest.fixture
def ready(federation: Federation) -> Federation:
    """The model is in the aggregator's store already."""
    federation.aggregator.artifacts.put(initial_model())
    return federation


def test_a_task_is_adopted_once(ready) -> None:
    task = ready.signed()
    assert adopt(ready.aggregator, task, time.time())
    assert not adopt(ready.aggregator, task, time.time())
    found = ready.aggregator.rounds.find(TASK_ID, 1)
    assert found is not None
    assert (found.status, found.row.coordinates) == ("IDLE", DIMENSION)


def test_another_task_of_that_round_is_a_conflict_for_ever(ready) -> None:
    adopt(ready.aggregator, ready.signed(), time.time())
    with pytest.raises(Conflict, match="task hash"):
        adopt(ready.aggregator, ready.signed(maxMiners=4), time.time())


def test_another_aggregators_task_is_not_looked_at(ready) -> None:
    other = SecretKey(b"\x55" * 32)
    assert not adopt(ready.aggregator, ready.signed(aggregatorPublicKey=other.public_key), time.time())


def test_a_task_past_its_deadline_is_not_adopted(ready) -> None:
    assert not adopt(ready.aggregator, ready.signed(), time.time() + 4000)


def test_every_reason_against_a_task_is_named(ready) -> None:
    stranger = SecretKey(b"\x55" * 32)
    miners = [miner.address for miner in MINERS[:2]] + [AGGREGATOR.address, stranger.address]
    task = signed_by(PUBLISHER, ready, tpPublicKey=stranger.public_key, miners=miners, minMiners=5, maxMiners=5)
    with pytest.raises(Rejected) as caught:
        adopt(ready.aggregator, task, time.time())
    for part in (
        "signature of the publisher",
        "FLFLEET_TRUSTED_PUBLISHERS",
        "the aggregator's key",
        "the publisher's key",
    ):
        assert part in str(caught.value)
    assert "minMiners 5 is above the roster's 4" in str(caught.value)


def test_one_party_in_both_roles_is_refused(ready) -> None:
    with pytest.raises(Rejected, match="or its negative"):
        adopt(ready.aggregator, signed_by(AGGREGATOR, ready, tpPublicKey=AGGREGATOR.public_key), time.time())
    negative = SecretKey(
        (
            0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
            - int.from_bytes(AGGREGATOR.secret, "big")
        ).to_bytes(32, "big")
    )
    with pytest.raises(Rejected, match="or its negative"):
        adopt(ready.aggregator, signed_by(negative, ready, tpPublicKey=negative.public_key), time.time())


def test_the_next_round_must_name_this_aggregators_block(ready) -> None:
    adopt(ready.aggregator, ready.signed(), time.time())
    with pytest.raises(Rejected, match="parentBlockHash"):
        adopt(ready.aggregator, ready.signed(round=2, parentBlockHash="0x" + "22" * 32), time.time())


def test_a_model_with_another_hash_is_not_kept(federation) -> None:
    with federation.serving("backend"):
        from pipeline.aggregation.board_files import model_url, upload_model

        digest = federation.publisher.artifacts.put(b"another model")
        upload_model(federation.publisher.artifacts, digest, PUBLISHER, federation.settings("publisher"))
        task = federation.signed(modelURL=model_url(federation.settings("publisher"), digest))
        with pytest.raises(Rejected, match="SHA-256"):
            adopt(federation.aggregator, task, time.time())
    assert not federation.aggregator.artifacts.exists(digest)


def test_a_backend_that_is_away_is_tried_again(federation) -> None:
    with pytest.raises(Retryable):
        adopt(federation.aggregator, federation.signed(), time.time())


def test_a_support_with_another_hash_is_refused_and_the_right_one_counts_its_bits(ready) -> None:
    bitmap = wish_of(1)
    plans = ready.publisher.plans
    with ready.serving("publisher"):
        url = f"{ready.urls['publisher']}/publisher/supports/{to_hex(keccak256(bitmap))}"
        named = {"url": url, "hash": to_hex(keccak256(bitmap))}
        task = ready.signed(support=named)
        with pytest.raises(Rejected):
            adopt(ready.aggregator, task, time.time())
        plans.add(ready.document(), model="00", ratios=None, stop_at_expected=True)
        plan = plans.claim(TASK_ID)
        assert plan is not None
        plans.sign(plan, task, model="00", support=ready.publisher.artifacts.put(bitmap))
        with pytest.raises(Rejected, match="not the one that the task names"):
            adopt(ready.aggregator, ready.signed(support=named | {"hash": "0x" + "11" * 32}), time.time())
        assert adopt(ready.aggregator, task, time.time())
    found = ready.aggregator.rounds.find(TASK_ID, 1)
    assert found is not None
    assert found.row.coordinates == 20
