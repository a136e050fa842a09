"""What `flfleet rewards`, `evidence show` and `verify` say after an honest and after a bad round."""

import json
from pathlib import Path

import pytest
import requests

from cli.verification import show_evidence, show_rewards, verify_block
from pipeline.aggregation.aggregator.settling import settle_due
from pipeline.errors import Misconfigured
from pipeline.protocol.settlement import TOTAL_UNITS
from tests.attacks.scene import Scene


def home_of(scene: Scene, number: int = 0) -> Path:
    return scene.federation.folder / f"miner-{number}"


def test_rewards_show_score_and_share(scene: Scene, capsys) -> None:
    scene.play()
    for _ in range(3):
        scene.watch()
    show_rewards(home_of(scene), as_json=True)
    (reward,) = json.loads(capsys.readouterr().out)
    assert reward["totalUnits"] == TOTAL_UNITS
    assert 0 < reward["share"] < TOTAL_UNITS
    assert reward["score"].isdecimal()
    show_rewards(home_of(scene), as_json=False)
    assert "%" in capsys.readouterr().out


def test_a_miner_that_reveals_nothing_gets_nothing_and_is_shown(scene: Scene) -> None:
    task = scene.play()
    scene.watch()
    scene.watch(*scene.miners[:2])
    assert scene.federation.aggregator.verdicts.settlement(task.task_id, 1) is None
    settle_due(scene.federation.aggregator, scene.row.adopted_at + 3 * task.timeout)
    settlement = requests.get(scene.url(f"tasks/{task.task_id}/rounds/1/settlement"), timeout=5).json()
    by_miner = {one["miner"]: one for one in settlement["shares"]}
    missing = by_miner[scene.miners[2].key.address]
    assert (missing["share"], missing["score"]) == (0, None)
    assert sum(one["share"] for one in settlement["shares"]) == TOTAL_UNITS


def test_evidence_can_be_checked_again_by_anyone(scene: Scene, capsys) -> None:
    scene.play()
    block = scene.forge(lambda document, audit: (document | {"modelHash": "0x" + "11" * 32}, audit))
    scene.watch()
    show_evidence(home_of(scene), None, as_json=True)
    (evidence,) = json.loads(capsys.readouterr().out)
    assert evidence["block"] == block.document
    assert "modelHash" in evidence["reasons"][0]
    assert evidence["checkAgain"] == f"flfleet verify {evidence['url']}"
    assert not verify_block(home_of(scene, 3), evidence["url"], as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["reasons"] == evidence["reasons"]
    assert found["votes"].startswith("not published")
    show_evidence(home_of(scene), None, as_json=False)
    assert "modelHash" in capsys.readouterr().out
    with pytest.raises(Misconfigured, match="evidence show"):
        show_evidence(home_of(scene), "0x00", as_json=True)


def test_the_address_of_no_block_is_the_operators_mistake(tmp_path) -> None:
    with pytest.raises(Misconfigured, match="address of a block"):
        verify_block(tmp_path, "http://127.0.0.1:1/aggregator", as_json=True)
