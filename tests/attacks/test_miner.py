"""Attacks of a miner that may take part."""

import dataclasses

import numpy as np
import pytest
import requests

from pipeline.aggregation.collect import check_submission
from pipeline.errors import Rejected
from pipeline.nddfe import encrypt as encryption
from pipeline.nddfe.context import stream_key
from pipeline.nddfe.score import score_bound
from pipeline.parties.blocks import send_reveal
from pipeline.parties.http import RefusedByParty
from pipeline.protocol.block import Block
from pipeline.protocol.reveal import Reveal
from pipeline.protocol.submission import Header, Submission
from tests.attacks.scene import Scene
from tests.federation import DIMENSION, KERNEL, TASK_ID, encrypted, values_of
from tests.signed_tasks import MINERS


def refused(scene: Scene, submission: Submission, status: int, reason: str) -> None:
    with scene.federation.working("aggregator"):
        answer = scene.federation.send(submission)
    assert answer.status_code == status
    assert reason in " ".join(answer.json()["reasons"])


def published(scene: Scene) -> str:
    """The address of the aggregator, its round published."""
    scene.play()
    scene.federation.vote()
    assert scene.found().status == "BACK_TO_TRAINING"
    return scene.url("").rstrip("/")


def test_a_miner_that_opens_another_score_than_it_committed_to_gets_nothing(scene: Scene) -> None:
    url = published(scene)
    for score in (0, score_bound(DIMENSION, 3, 50)):
        with pytest.raises(RefusedByParty, match="does not open the commitment"):
            send_reveal(url, Reveal.make(TASK_ID, 1, score, bytes(32), MINERS[0]), 5)
    assert scene.federation.aggregator.verdicts.reveals(TASK_ID, 1) == []


def test_a_score_is_not_revealed_before_the_block_is_published(scene: Scene) -> None:
    scene.play()
    with pytest.raises(RefusedByParty, match="revealed once it is published"):
        send_reveal(scene.url("").rstrip("/"), Reveal.make(TASK_ID, 1, 0, bytes(32), MINERS[0]), 5)


def test_a_submission_replayed_in_another_task_is_refused(scene: Scene) -> None:
    first = scene.federation.open_round()
    one = encrypted(first, MINERS[0], values_of(0))
    # The same bytes say which task they are of; another task's name in them is another header.
    document = one.header.document | {"taskHash": "0x" + "22" * 32}
    moved = dataclasses.replace(
        one, header=Header.from_document(document), signature=MINERS[0].sign("submission", document)
    )
    refused(scene, moved, 422, "unknown task hash")


def test_a_submission_replayed_in_another_round_is_refused(scene: Scene) -> None:
    first = scene.federation.open_round()
    document = encrypted(first, MINERS[0], values_of(0)).header.document | {"round": 2}
    one = encrypted(first, MINERS[0], values_of(0))
    moved = dataclasses.replace(
        one, header=Header.from_document(document), signature=MINERS[0].sign("submission", document)
    )
    refused(scene, moved, 404, "unknown task")


def test_another_miners_submission_under_an_own_name_is_refused(scene: Scene) -> None:
    task = scene.federation.open_round()
    one = encrypted(task, MINERS[0], values_of(0))
    document = one.header.document | {"miner": MINERS[1].address, "minerPublicKey": MINERS[1].public_key}
    stolen = dataclasses.replace(
        one, header=Header.from_document(document), signature=MINERS[1].sign("submission", document)
    )
    refused(scene, stolen, 422, "proof of encryption fails")


def test_a_second_submission_of_a_miner_is_refused(scene: Scene) -> None:
    task = scene.federation.open_round()
    with scene.federation.working("aggregator"):
        assert scene.federation.send(encrypted(task, MINERS[0], values_of(0))).status_code == 202
    refused(scene, encrypted(task, MINERS[0], values_of(1)), 409, "duplicate")


def test_a_miner_with_random_masks_is_taken_out_and_the_round_goes_on(scene: Scene) -> None:
    task = scene.federation.open_round(maxMiners=4)
    honest = [scene.submission(task, miner) for miner in scene.miners[:3]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encryption, "stream_key", lambda party, shared, context: stream_key(party, shared, context[::-1]))
        bad = encrypted(task, MINERS[3], values_of(3))
    scene.fill(task, [*honest, bad])
    scene.watch()
    assert scene.found().status == "BACK_TO_TRAINING"
    named = [one.miner for one in Block.decode(scene.row.block.encode()).fields.participants]
    assert named == [miner.address for miner in MINERS[:3]]


def overflowing(values: dict[int, int]) -> np.ndarray:
    sent = np.zeros(DIMENSION, dtype=np.int64)
    for at, value in values.items():
        sent[at] = value
    return sent


def test_a_digit_beyond_what_the_miners_can_add_up_to_drops_its_group_alone(scene: Scene) -> None:
    task = scene.federation.open_round(maxMiners=4)
    # c = 3 and n = 3: a digit of 12 is beyond n*c = 9, and still one of base B = 25.
    first = scene.submission(task, scene.miners[0], overflowing({0: 12}))
    others = [scene.submission(task, miner, overflowing({})) for miner in scene.miners[1:3]]
    with scene.federation.working("aggregator"):
        for one in (first, *others):
            scene.deliver(one)
    scene.federation.aggregator.rounds.begin_closing(TASK_ID, 1)
    scene.close(task)
    assert scene.row.dropped == [0]
    scene.watch()
    assert scene.found().status == "BACK_TO_TRAINING"


def test_a_digit_that_overflows_into_its_neighbour_in_a_full_round_is_not_caught_but_bounded(scene: Scene) -> None:
    task = scene.federation.open_round()
    # n = maxMiners: every digit of base B = 19 is one that three miners can have, so 12 reads as -7 and one more beside it.
    first = scene.submission(task, scene.miners[0], overflowing({0: 12}))
    others = [scene.submission(task, miner, overflowing({})) for miner in scene.miners[1:3]]
    scene.fill(task, [first, *others])
    assert scene.row.dropped == []
    sums = np.frombuffer(scene.federation.aggregator.artifacts.get(scene.row.aggregate), dtype="<i8")
    assert sums[:3].tolist() == [-7, 1, 0]
    assert np.abs(sums).max() <= 3 * task.level


def test_an_update_scaled_by_a_thousand_loses_its_groups_and_the_votes_reject_too_many(scene: Scene) -> None:
    task = scene.federation.open_round()
    scaled = scene.submission(task, scene.miners[0], 1000 * np.ones(DIMENSION, dtype=np.int64))
    others = [scene.submission(task, miner) for miner in scene.miners[1:3]]
    scene.fill(task, [scaled, *others])
    assert len(scene.row.dropped) == task.groups(DIMENSION)
    scene.watch()
    assert scene.found().status == "REJECTED"
    assert "FLFLEET_MAX_DROPPED_SHARE" in scene.row.reason


def test_an_update_scaled_within_the_limit_is_not_caught_but_bounded(scene: Scene) -> None:
    task = scene.federation.open_round()
    # c for every coordinate: the most that one miner can move the sum by. Only accuracy can tell.
    scaled = scene.submission(task, scene.miners[0], np.full(DIMENSION, task.level))
    others = [scene.submission(task, miner, overflowing({})) for miner in scene.miners[1:3]]
    scene.fill(task, [scaled, *others])
    sums = np.frombuffer(scene.federation.aggregator.artifacts.get(scene.row.aggregate), dtype="<i8")
    assert sums.tolist() == [task.level] * DIMENSION
    scene.watch()
    assert scene.found().status == "BACK_TO_TRAINING"


def test_a_filling_digit_that_is_not_zero_drops_its_group(scene: Scene) -> None:
    task = scene.federation.open_round(dimension=DIMENSION, quantization={"scale": 50, "clip": 0.06, "pack": 2})
    longer = np.zeros(DIMENSION + 1, dtype=np.int64)
    longer[-1] = 2
    first = scene.submission(task, scene.miners[0], longer)
    others = [scene.submission(task, miner, overflowing({})) for miner in scene.miners[1:3]]
    scene.fill(task, [first, *others])
    assert scene.row.dropped == [task.groups(DIMENSION) - 1]


def test_a_miner_that_votes_twice_is_shown_and_counts_once(scene: Scene) -> None:
    from pipeline.protocol.vote import Vote

    scene.play()
    block = Block.decode(scene.row.block.encode())
    url = scene.url(f"blocks/{block.block_hash}/votes")
    first, second = (Vote.make(block, verdict, [], MINERS[0]) for verdict in ("VALID", "INVALID"))
    assert requests.post(url, data=first.encode(), timeout=5).status_code == 202
    assert requests.post(url, data=first.encode(), timeout=5).status_code == 202
    assert requests.post(url, data=second.encode(), timeout=5).status_code == 409
    assert requests.get(url, timeout=5).json() == [first.envelope]
    assert requests.get(f"{url}/conflicting", timeout=5).json() == [second.envelope]


def test_a_stranger_does_not_vote(scene: Scene) -> None:
    from pipeline.protocol.vote import Vote

    scene.play()
    block = Block.decode(scene.row.block.encode())
    url = scene.url(f"blocks/{block.block_hash}/votes")
    answer = requests.post(url, data=Vote.make(block, "INVALID", [], MINERS[4]).encode(), timeout=5)
    assert answer.status_code == 422
    assert "no participant" in answer.json()["reasons"][0]


def test_the_proof_binds_a_ciphertext_to_its_mask_key(scene: Scene) -> None:
    task = scene.federation.open_round()
    one, other = encrypted(task, MINERS[0], values_of(0)), encrypted(task, MINERS[0], values_of(0))
    document = one.header.document | {"maskKey": other.header.document["maskKey"]}
    moved = dataclasses.replace(
        one, header=Header.from_document(document), signature=MINERS[0].sign("submission", document)
    )
    with pytest.raises(Rejected, match="proof of encryption fails"):
        check_submission(task, moved, DIMENSION, KERNEL)
