"""Votes, reveals and settlements against the known answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import BadSignature, Malformed, Rejected
from pipeline.protocol.block import Block
from pipeline.protocol.reveal import Reveal
from pipeline.protocol.settlement import TOTAL_UNITS, Settlement, shares
from pipeline.protocol.signing import SecretKey, canonical
from pipeline.protocol.vote import Vote, check_majority, majority
from tests.known_answers import CASES, NAMES, case_named, raw, secret

CASE = case_named("packed")
MINERS = [secret(miner["secretKey"]) for miner in CASE["miners"]]
AGGREGATOR = secret(CASE["aggregatorSecretKey"])


def block_of(case) -> Block:
    signed = case["signed"]["block"]
    return Block.decode(canonical({**signed["body"], "signature": signed["signature"]}))


BLOCK = block_of(CASE)


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_the_known_vote_and_reveal_are_made_and_read(case):
    vote, reveal = case["signed"]["vote"], case["signed"]["reveal"]
    keys = {key.address: key for key in (secret(miner["secretKey"]) for miner in case["miners"])}
    made = Vote.make(block_of(case), "VALID", [], keys[vote["body"]["miner"]])
    assert made.envelope == {"vote": vote["body"], "signature": vote["signature"]}
    read = Vote.decode(made.encode())
    read.check(block_of(case))
    body = reveal["body"]
    opened = Reveal.make(body["taskID"], body["round"], int(body["score"]), raw(body["nonce"]), keys[body["miner"]])
    assert opened.envelope == {"reveal": body, "signature": reveal["signature"]}
    assert Reveal.decode(opened.encode()) == opened
    assert opened.reveal_hash == reveal["digest"]
    opened.check_signature()


def test_a_flipped_vote_is_not_its_miners():
    vote = Vote.make(BLOCK, "VALID", [], MINERS[0])
    flipped = Vote.from_envelope({**vote.envelope, "vote": vote.document | {"verdict": "INVALID"}})
    with pytest.raises(BadSignature):
        flipped.check(BLOCK)


def test_a_strangers_vote_does_not_count():
    with pytest.raises(Rejected, match="no participant"):
        Vote.make(BLOCK, "VALID", [], SecretKey.generate()).check(BLOCK)


@pytest.mark.parametrize(("participants", "needed"), [(1, 1), (2, 2), (3, 3), (4, 3), (5, 4), (10, 7), (100, 67)])
def test_the_majority_is_67_of_100_rounded_up(participants, needed):
    assert majority(participants) == needed


def test_a_majority_counts_each_miner_once():
    votes = [Vote.make(BLOCK, "VALID", [], miner) for miner in MINERS]
    check_majority(BLOCK, votes)
    with pytest.raises(Rejected, match="stands twice"):
        check_majority(BLOCK, [*votes, votes[0]])
    with pytest.raises(Rejected, match="needed"):
        check_majority(BLOCK, votes[:1])


@pytest.mark.parametrize(
    "changes", [{"verdict": "MAYBE"}, {"blockHash": "0x00"}, {"miner": "me"}, {"reason": "x" * 5000}, {"round": "1"}]
)
def test_a_vote_of_another_form_is_malformed(changes):
    envelope = Vote.make(BLOCK, "INVALID", ["sum"], MINERS[0]).envelope
    with pytest.raises(Malformed):
        Vote.from_envelope({**envelope, "vote": envelope["vote"] | changes})


@pytest.mark.parametrize("score", ["007", "-1", "1.5", "", "1e3", "9" * 79, str(2**256)])
def test_a_score_is_plain_decimal(score):
    envelope = Reveal.make("task", 1, 7, bytes(32), MINERS[0]).envelope
    with pytest.raises(Malformed, match="score"):
        Reveal.from_envelope({**envelope, "reveal": envelope["reveal"] | {"score": score}})


@given(st.lists(st.integers(0, 2**80), min_size=1, max_size=20))
def test_shares_add_up_to_the_last_unit_and_are_off_by_less_than_one(scores):
    by_miner = {str(number): score for number, score in enumerate(scores)}
    found = shares(by_miner, TOTAL_UNITS)
    whole = sum(scores)
    assert sum(found.values()) == (TOTAL_UNITS if whole else 0)
    for miner, score in by_miner.items():
        assert abs(found[miner] * whole - TOTAL_UNITS * score) < max(whole, 1)


def test_a_missing_reveal_gets_nothing_and_is_shown():
    first, *rest = (miner.address for miner in MINERS)
    settled = Settlement.make(BLOCK, dict.fromkeys(rest, 5), 1764000000, AGGREGATOR)
    read = Settlement.decode(settled.encode())
    read.check(BLOCK, AGGREGATOR.address)
    assert read.fields.shares[0].miner == first
    assert (read.fields.shares[0].share, read.fields.shares[0].score) == (0, None)
    assert sum(one.share for one in read.fields.shares) == TOTAL_UNITS


def test_a_settlement_that_favours_one_is_noticed():
    document = dict(Settlement.make(BLOCK, {miner.address: 5 for miner in MINERS}, 0, AGGREGATOR).document)
    document["shares"] = [dict(one) for one in document["shares"]]
    document["shares"][0]["share"] += 1
    document["signature"] = AGGREGATOR.sign("settlement", document)
    with pytest.raises(Rejected, match="shares"):
        Settlement.from_document(document).check(BLOCK, AGGREGATOR.address)
