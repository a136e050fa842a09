from dataclasses import replace

import pytest

from pipeline.protocol.admission import Circumstances, Policy, authenticity, refusals
from pipeline.protocol.encodings import public_key_text
from pipeline.protocol.signing import SecretKey
from tests.signed_tasks import AGGREGATOR, MINERS, PUBLISHER, make_task

ADDRESSES = frozenset(miner.address for miner in MINERS)
NOW = 1_764_000_100.0
STRANGER = SecretKey(b"\x33" * 32)
POLICY = Policy(
    trusted_publishers=frozenset({PUBLISHER.address}),
    trusted_aggregators=frozenset({AGGREGATOR.address}),
    known_miners=ADDRESSES - {MINERS[0].address},
    min_known_participants=3,
    min_coordinates=1024,
    max_submissions_per_model=1,
    max_dimension=1_000_000,
    allow_unsigned_tasks=False,
    has_ipfs=False,
)
HERE = Circumstances(
    address=MINERS[0].address,
    own=frozenset({MINERS[0].address}),
    data_folder="/data/digits",
    holds_dataset=True,
    standing_task=None,
    submissions=0,
    now=NOW,
)


def task(**changes):
    return make_task(**({"publishedAt": int(NOW) - 100} | changes))


def negative(key: SecretKey) -> str:
    return public_key_text(bytes([key.point33[0] ^ 1]) + key.point33[1:])


def test_a_task_that_keeps_every_rule_runs():
    assert refusals(task(), POLICY, HERE) == []
    assert refusals(task(), POLICY, replace(HERE, standing_task=task().task_hash)) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sign": False}, ["signature of the publisher: missing", "FLFLEET_ALLOW_UNSIGNED_TASKS"]),
        ({"key": STRANGER}, ["signature of the publisher: expected"]),
        ({"key": STRANGER, "tpPublicKey": STRANGER.public_key}, ["FLFLEET_TRUSTED_PUBLISHERS", STRANGER.address]),
        ({"aggregatorPublicKey": STRANGER.public_key}, ["FLFLEET_TRUSTED_AGGREGATORS", STRANGER.address]),
        ({"aggregatorPublicKey": PUBLISHER.public_key}, ["or its negative", "TRUSTED_AGGREGATORS"]),
        ({"aggregatorPublicKey": negative(PUBLISHER)}, ["or its negative", "TRUSTED_AGGREGATORS"]),
        ({"miners": [MINERS[0].address, AGGREGATOR.address]}, ["the aggregator's key", "nobody may be two parties"]),
        ({"miners": [MINERS[0].address, PUBLISHER.address]}, ["the publisher's key", "nobody may be two parties"]),
        ({"miners": [miner.address for miner in MINERS[1:]]}, ["is not in the task's roster"]),
        ({"miners": [*sorted(ADDRESSES), STRANGER.address]}, ["1 of the 6", "FLFLEET_MIN_KNOWN_PARTICIPANTS"]),
        ({"minMiners": 2}, ["0 of the 5", "FLFLEET_MIN_KNOWN_PARTICIPANTS asks for 3"]),
        ({"dimension": 1023}, ["1023 coordinates", "FLFLEET_MIN_COORDINATES 1024"]),
        ({"dimension": 1_000_001}, ["above FLFLEET_MAX_DIMENSION 1000000"]),
        ({"publishedAt": int(NOW) - 3600}, ["expired"]),
        ({"modelURL": "file:///etc/passwd"}, ["modelURL must be an http or https address"]),
        ({"modelURL": "http://[::1"}, ["modelURL must be an http or https address"]),
        ({"aggregatorURL": "ftp://aggregator"}, ["aggregatorURL must be an http or https address"]),
        ({"modelURL": None, "modelIPFSHash": "Qm1"}, ["FLFLEET_IPFS_API or FLFLEET_IPFS_GATEWAYS"]),
    ],
)
def test_a_task_that_breaks_a_rule_is_refused_with_the_setting_or_the_reason(changes, words):
    text = "\n".join(refusals(task(**changes), POLICY, HERE))
    for word in words:
        assert word in text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"holds_dataset": False}, "data set 'digits' is not held: no folder /data/digits"),
        ({"standing_task": "0x" + "1" * 64}, "another task of (task_001, round 1) was seen before: 0x111"),
        ({"submissions": 1}, "FLFLEET_MAX_SUBMISSIONS_PER_MODEL is 1"),
        ({"now": NOW + 3600}, "expired: submissions closed"),
    ],
)
def test_circumstances_refuse_with_one_reason(change, words):
    (reason,) = refusals(task(), POLICY, replace(HERE, **change))
    assert words in reason


@pytest.mark.parametrize(
    ("floor", "changes"),
    [
        ({"allow_unsigned_tasks": True}, {"sign": False}),
        ({"trusted_publishers": frozenset({STRANGER.address})}, {"key": STRANGER, "tpPublicKey": STRANGER.public_key}),
        ({"trusted_aggregators": frozenset({STRANGER.address})}, {"aggregatorPublicKey": STRANGER.public_key}),
        ({"known_miners": ADDRESSES | {STRANGER.address}}, {"miners": [*sorted(ADDRESSES), STRANGER.address]}),
        ({"min_known_participants": 2}, {"minMiners": 2}),
        ({"min_coordinates": 1}, {"dimension": 1}),
        ({"max_dimension": 2_000_000}, {"dimension": 1_000_001}),
        ({"has_ipfs": True}, {"modelURL": None, "modelIPFSHash": "Qm1"}),
    ],
)
def test_each_floor_is_the_operators_to_lower_one_by_one(floor, changes):
    assert len(refusals(task(**changes), POLICY, HERE)) == 1
    assert refusals(task(**changes), replace(POLICY, **floor), HERE) == []


def test_a_small_dimension_is_the_fetching_stages_to_judge_where_there_is_a_support():
    support = {"url": "http://127.0.0.1:1/s", "hash": "0x" + "0" * 64}
    assert refusals(task(dimension=1023, support=support), POLICY, HERE) == []


def test_own_identities_need_not_be_named_as_known():
    policy = replace(POLICY, known_miners=frozenset())
    assert refusals(task(), policy, replace(HERE, own=ADDRESSES)) == []
    assert refusals(task(), policy, HERE) != []


def test_an_unsigned_task_is_not_authentic_unless_allowed_and_a_wrong_signature_never_is():
    allowed = replace(POLICY, allow_unsigned_tasks=True)
    assert authenticity(task(sign=False), POLICY) != []
    assert authenticity(task(sign=False), allowed) == []
    assert authenticity(task(key=STRANGER), allowed) != []
