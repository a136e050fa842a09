"""What happens where nobody attacks: the block is verified, published, and everyone is paid for what it contributed."""

import dataclasses

import requests

from pipeline.protocol.settlement import TOTAL_UNITS
from tests.attacks.scene import Scene
from tests.federation import TASK_ID


def test_miners_verify_vote_reveal_and_are_paid(scene: Scene) -> None:
    scene.play()
    assert scene.found().status == "AWAITING_VERIFICATION"
    scene.watch()
    assert scene.found().status == "BACK_TO_TRAINING"
    assert [miner.reasons for miner in scene.miners] == [""] * 4
    votes = requests.get(scene.url(f"blocks/{scene.row.block_hash}/votes"), timeout=5).json()
    assert {one["vote"]["verdict"] for one in votes} == {"VALID"}
    scene.watch()  # it is published: the scores are revealed, and the last one settles the round
    scene.watch()
    settlement = requests.get(scene.url(f"tasks/{TASK_ID}/rounds/1/settlement"), timeout=5).json()
    assert sum(one["share"] for one in settlement["shares"]) == TOTAL_UNITS
    rewards = [reward for miner in scene.miners for reward in miner.watcher.book.rewards()]
    assert {reward.miner: reward.share for reward in rewards} == {
        one["miner"]: one["share"] for one in settlement["shares"]
    }


def test_a_miner_whose_receipt_came_after_the_block_votes_too(scene: Scene) -> None:
    scene.play()
    first, second, third = scene.miners[:3]
    keys = {miner.key.address: miner.key for miner in scene.miners}
    # One fleet of three identities; when it first sees the block, the answer to the third one's submission is still lost.
    fleet = dataclasses.replace(first.watcher, key=keys.__getitem__)
    for receipts, voted in (((first, second), 2), ((first, second, third), 3), ((first, second, third), 3)):
        scene.shared_watch(fleet, *receipts)
        votes = requests.get(scene.url(f"blocks/{scene.row.block_hash}/votes"), timeout=5).json()
        assert len(votes) == voted
    assert {one["vote"]["miner"] for one in votes} == {miner.key.address for miner in (first, second, third)}
    assert len(fleet.book.blocks()) == 1


def test_the_page_shows_votes_reasons_and_shares(scene: Scene) -> None:
    scene.play()
    for _ in range(3):
        scene.watch()
    page = requests.get(scene.url("").rstrip("/"), timeout=5).text
    assert "3 of 3 found it valid, 3 needed" in page
    assert "revealed" in page
