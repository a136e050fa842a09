import pytest

from pipeline.aggregation.voting import Outcome, check_reveal, outcome, reveals_close, votes_close
from pipeline.errors import BadSignature, Rejected
from pipeline.protocol.block import Block
from pipeline.protocol.reveal import Reveal
from pipeline.protocol.signing import canonical
from pipeline.protocol.vote import Vote
from tests.known_answers import CASES, NAMES, case_named, raw, secret, support_size, task_of

CASE = case_named("many")
MINERS = [secret(miner["secretKey"]) for miner in CASE["miners"]]
TASK, SIZE = task_of(CASE), support_size(CASE)


def block_of(case) -> Block:
    signed = case["signed"]["block"]
    return Block.decode(canonical({**signed["body"], "signature": signed["signature"]}))


BLOCK = block_of(CASE)
NEEDED = (67 * len(MINERS) + 99) // 100


def votes(valid: int, invalid: int = 0) -> list[Vote]:
    verdicts = ["VALID"] * valid + ["INVALID"] * invalid
    pairs = zip(verdicts, MINERS, strict=False)
    return [Vote.make(BLOCK, verdict, ["sum"] if verdict == "INVALID" else [], miner) for verdict, miner in pairs]


def said(cast: list[Vote], now: float = 0.0) -> Outcome:
    return outcome(BLOCK, cast, now, TASK.timeout)[0]


def test_a_block_is_published_by_the_last_vote_that_is_needed():
    assert said(votes(NEEDED - 1)) is Outcome.OPEN
    assert said(votes(NEEDED)) is Outcome.PUBLISHED


def test_a_block_is_rejected_once_a_majority_is_out_of_reach():
    bearable = len(MINERS) - NEEDED
    assert said(votes(0, bearable)) is Outcome.OPEN
    assert said(votes(0, bearable + 1)) is Outcome.REJECTED
    assert "sum" in outcome(BLOCK, votes(0, bearable + 1), 0.0, TASK.timeout)[1]


def test_too_few_votes_in_time_reject_and_enough_of_them_publish_at_any_time():
    end = votes_close(BLOCK, TASK.timeout)
    assert said(votes(NEEDED - 1), end - 1) is Outcome.OPEN
    assert said(votes(NEEDED - 1), end) is Outcome.REJECTED
    assert said(votes(NEEDED), end) is Outcome.PUBLISHED
    assert reveals_close(BLOCK, TASK.timeout) == end + TASK.timeout


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_every_known_score_opens_its_commitment(case):
    if case["name"] == "overflow":
        return  # its second miner sends what no honest one does; the score is still its own
    task = task_of(case)
    for miner in case["miners"]:
        opened = Reveal.make(
            task.task_id, task.round, int(miner["score"]), raw(miner["nonce"]), secret(miner["secretKey"])
        )
        check_reveal(task, block_of(case), support_size(case), opened)


def opened(**changes) -> Reveal:
    miner = CASE["miners"][0]
    values = {"score": int(miner["score"]), "nonce": raw(miner["nonce"]), "miner": MINERS[0]} | changes
    return Reveal.make(TASK.task_id, TASK.round, values["score"], values["nonce"], values["miner"])


def test_another_score_or_nonce_does_not_open_the_commitment():
    for changes in ({"score": int(CASE["miners"][0]["score"]) + 1}, {"nonce": bytes(32)}, {"miner": MINERS[1]}):
        with pytest.raises(Rejected, match="does not open"):
            check_reveal(TASK, BLOCK, SIZE, opened(**changes))


def test_a_reveal_is_its_miners_word_alone():
    forged = Reveal.from_envelope({**opened().envelope, "signature": opened(miner=MINERS[1]).signature})
    with pytest.raises(BadSignature):
        check_reveal(TASK, BLOCK, SIZE, forged)


def test_a_score_beyond_what_the_coordinates_can_have_is_refused():
    with pytest.raises(Rejected, match="largest that 1 coordinates can have"):
        check_reveal(TASK, BLOCK, 1, opened())
