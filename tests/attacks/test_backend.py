"""Attacks of whoever stands between the parties: the backend, a relay, a publisher with a second key."""

import time
from pathlib import Path

import pytest
import requests

from pipeline.errors import Rejected
from pipeline.protocol.admission import Circumstances, Policy, refusals
from pipeline.protocol.block import Block
from pipeline.protocol.encodings import public_key_text, sha256, to_hex
from pipeline.protocol.signing import SecretKey
from pipeline.protocol.task import Task
from pipeline.protocol.vote import Vote
from pipeline.settings import load
from pipeline.stages.fetch import fetch_model
from pipeline.stores.artifacts import ArtifactStore
from tests.attacks.scene import Scene
from tests.federation import initial_model
from tests.scripted_server import Script, serving
from tests.signed_tasks import AGGREGATOR, MINERS, PUBLISHER, document, make_task

POLICY = Policy(
    trusted_publishers=frozenset({PUBLISHER.address}),
    trusted_aggregators=frozenset({AGGREGATOR.address}),
    known_miners=frozenset(miner.address for miner in MINERS),
    min_known_participants=3,
    min_coordinates=1024,
    max_submissions_per_model=1,
    max_dimension=10**6,
    allow_unsigned_tasks=False,
    has_ipfs=False,
)


def reasons_against(task: Task, **policy) -> str:
    here = Circumstances(
        address=MINERS[0].address,
        own=frozenset({MINERS[0].address}),
        data_folder="data/digits",
        holds_dataset=True,
        standing_task=None,
        submissions=0,
        now=time.time(),
    )
    return "; ".join(refusals(task, Policy(**{**vars(POLICY), **policy}), here))


def test_an_honest_task_is_taken() -> None:
    assert reasons_against(make_task()) == ""


@pytest.mark.parametrize(
    "changes",
    [
        {"aggregatorPublicKey": SecretKey(b"\x07" * 32).public_key},
        {"modelURL": "http://elsewhere.example/m"},
        {"modelSHA256": "0x" + "cd" * 32},
        {"miners": [miner.address for miner in MINERS[:3]]},
        {"minMiners": 1},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_backend_that_swaps_a_member_of_a_task_is_caught(changes) -> None:
    altered = Task.from_document(document() | changes)
    assert "signature" in reasons_against(altered)


def test_a_backend_that_swaps_the_publishers_key_and_signs_itself_is_caught() -> None:
    own = SecretKey(b"\x08" * 32)
    task = Task.from_document(document(key=own, tpPublicKey=own.public_key))
    assert "FLFLEET_TRUSTED_PUBLISHERS" in reasons_against(task)


def test_a_first_model_that_differs_for_one_miner_is_caught(tmp_path: Path) -> None:
    settings, model = load(tmp_path), initial_model()
    other = model[:-1] + bytes([model[-1] ^ 1])
    with serving(Script(answers=[(200, other, {})])) as board:
        task = make_task(modelURL=f"{board.url}/models/m", modelSHA256=to_hex(sha256(model)))
        with pytest.raises(Rejected, match="SHA-256"):
            fetch_model(task, ArtifactStore(settings.artifacts, settings.cache / "scratch"), settings)


def test_a_relay_that_flips_a_vote_is_caught(scene: Scene) -> None:
    scene.play()
    block = Block.decode(scene.row.block.encode())
    url = scene.url(f"blocks/{block.block_hash}/votes")
    vote = Vote.make(block, "INVALID", ["sum"], MINERS[0])
    flipped = {"vote": vote.document | {"verdict": "VALID"}, "signature": vote.signature}
    answer = requests.post(url, json=flipped, timeout=5)
    assert answer.status_code == 422
    assert "signature of the vote's miner" in answer.json()["reasons"][0]
    assert requests.get(url, timeout=5).json() == []


def test_a_roster_of_shadows_around_one_miner_is_refused() -> None:
    shadows = [SecretKey(bytes([60 + number]) * 32).address for number in range(4)]
    task = make_task(miners=[MINERS[0].address, *shadows])
    assert "MIN_KNOWN_PARTICIPANTS" in reasons_against(task)


def test_a_publishers_second_key_as_the_aggregators_is_refused() -> None:
    second = SecretKey(b"\x09" * 32)
    assert "FLFLEET_TRUSTED_AGGREGATORS" in reasons_against(make_task(aggregatorPublicKey=second.public_key))


@pytest.mark.parametrize("sign", [b"\x00", b"\x01"], ids=["the same key", "its negative"])
def test_the_publishers_own_key_or_its_negative_as_the_aggregators_is_refused(sign: bytes) -> None:
    point33 = bytes([PUBLISHER.point33[0] ^ sign[0]]) + PUBLISHER.point33[1:]
    task = make_task(aggregatorPublicKey=public_key_text(point33))
    assert reasons_against(task, trusted_aggregators=frozenset({task.aggregator_address})) != ""
