"""Attacks of an aggregator; it always signs what it says. Each is caught by miners that look, with the reason."""

import dataclasses
import time

import numpy as np
import pytest

from pipeline.aggregation.evaluate import new_model
from pipeline.aggregation.inspection import inspect
from pipeline.errors import Rejected
from pipeline.parties.http import RefusedByParty, send
from pipeline.protocol.block import Audit
from pipeline.protocol.encodings import keccak256, sha256, to_hex
from pipeline.protocol.function_key import KeyRequest
from pipeline.protocol.signing import SecretKey, canonical
from pipeline.stores.aggregator.tables import submissions
from tests.attacks.scene import Scene
from tests.federation import KERNEL, TASK_ID
from tests.signed_tasks import AGGREGATOR


def resigned_request(audit: Audit, **changes) -> Audit:
    document = audit.request["request"] | changes
    return dataclasses.replace(
        audit, request={"request": document, "signature": AGGREGATOR.sign("key-request", document)}
    )


def caught(scene: Scene, reason: str, *miners) -> None:
    """The miners find the block INVALID for that reason, keep evidence, and their votes reject it."""
    scene.watch(*miners)
    looked = miners or [miner for miner in scene.miners if miner.sent]
    for miner in looked:
        assert reason in miner.reasons
        assert miner.blocks[-1].evidence is not None
    assert scene.found().status == "REJECTED"
    assert reason in scene.row.reason


def test_an_aggregator_that_alters_one_coordinate_of_the_sum_is_caught(scene: Scene) -> None:
    task = scene.play()

    def alter(document, audit):
        sums = np.frombuffer(audit.aggregate, dtype="<i8").copy()
        sums[5] += -1 if sums[5] > 0 else 1
        # It is careful: the hash and even the model are those of the altered sum.
        model = new_model(scene.miners[0].watcher.artifacts.path(task.model_sha256.hex()), task, sums, None, 3)
        changes = {"aggregateHash": to_hex(keccak256(sums.tobytes())), "modelHash": to_hex(sha256(model))}
        return document | changes, dataclasses.replace(audit, aggregate=sums.tobytes())

    scene.forge(alter)
    caught(scene, "sum: the aggregate is not the sum of the participants' ciphertexts")


def test_an_aggregator_that_swaps_the_model_is_caught(scene: Scene) -> None:
    scene.play()
    scene.forge(lambda document, audit: (document | {"modelHash": "0x" + "11" * 32}, audit))
    caught(scene, "model: modelHash is 0x1111")


def test_an_aggregator_that_drops_a_miner_from_the_block_is_caught(scene: Scene) -> None:
    scene.play(miners=4, minMiners=3)
    scene.forge(lambda document, audit: (document | {"participants": document["participants"][:3]}, audit))
    caught(scene, "participants is", *scene.miners[:3])
    # The dropped one has no vote, but it has the aggregator's receipt, and with it evidence.
    scene.watch(scene.miners[3])
    assert "own submission" in scene.miners[3].reasons
    assert scene.miners[3].blocks[-1].evidence is not None


def test_an_aggregator_that_leaves_a_miner_out_of_the_request_is_caught_by_that_miner(scene: Scene) -> None:
    task = scene.federation.open_round(maxMiners=5)
    desk = scene.federation.aggregator
    with scene.federation.working("aggregator"):
        for miner in scene.miners:
            scene.deliver(scene.submission(task, miner))
    (victim,) = [
        one for one in desk.submissions.accepted(TASK_ID, 1) if one.header.miner == scene.miners[3].key.address
    ]
    with desk.submissions._writing() as connection:
        connection.execute(submissions.delete().where(submissions.c.id == victim.id))
    desk.rounds.begin_closing(TASK_ID, 1)
    scene.close(task)
    scene.watch()
    assert "holds a receipt" in scene.miners[3].reasons
    assert scene.miners[3].blocks[-1].evidence is not None
    # The others see nothing wrong with the sum that they are in: the evidence is the receipt's owner's.
    assert scene.found().status == "BACK_TO_TRAINING"


def test_an_aggregator_that_forges_a_participant_is_caught(scene: Scene) -> None:
    scene.play(minMiners=3)
    shadow = SecretKey.generate()

    def alter(document, audit):
        named = audit.request["request"]["submissions"]
        header = named[0]["header"] | {"miner": shadow.address, "minerPublicKey": shadow.public_key}
        forged = [*named[:2], {"header": header, "signature": shadow.sign("submission", header)}]
        audit = resigned_request(audit, submissions=forged)
        request = KeyRequest.from_envelope(audit.request)
        participants = [
            {"miner": one.miner, "submissionHash": one.submission_hash, "scoreCommit": one.score_commit}
            for one in (entry.header for entry in request.submissions)
        ]
        return document | {"participants": participants, "requestHash": request.request_hash}, audit

    scene.forge(alter)
    scene.watch()
    # Its shadow cannot be shown as a submission, and while there is time to show it, nobody votes.
    assert scene.found().status == "AWAITING_VERIFICATION"
    late = time.time() + scene.found().task.timeout * 0.75
    scene.watch(now=late)
    assert "withheld" in scene.miners[0].reasons
    assert scene.found().status == "REJECTED"


def test_an_aggregator_that_adds_a_participant_after_it_has_the_key_is_caught(scene: Scene) -> None:
    task = scene.federation.open_round(maxMiners=5)
    with scene.federation.working("aggregator"):
        for miner in scene.miners:
            scene.deliver(scene.submission(task, miner))
    desk = scene.federation.aggregator
    late = desk.submissions.accepted(TASK_ID, 1)[3]
    which = submissions.c.id == late.id
    with desk.submissions._writing() as connection:
        connection.execute(submissions.update().where(which).values(state="refused"))
    desk.rounds.begin_closing(TASK_ID, 1)
    scene.close(task)
    with desk.submissions._writing() as connection:
        connection.execute(submissions.update().where(which).values(state="accepted"))

    def alter(document, audit):
        named = audit.request["request"]
        entry = {"header": late.header.document, "signature": late.signature}
        sums = [*named["maskSums"], named["maskSums"][0]]
        audit = resigned_request(audit, submissions=[*named["submissions"], entry], maskSums=sums)
        request = KeyRequest.from_envelope(audit.request)
        header = late.header
        added = {"miner": header.miner, "submissionHash": header.submission_hash, "scoreCommit": header.score_commit}
        wishes = (*audit.wishes, desk.artifacts.get(late.wish or ""))
        changes = {"participants": [*document["participants"], added], "requestHash": request.request_hash}
        return document | changes, dataclasses.replace(audit, wishes=wishes)

    scene.forge(alter)
    caught(scene, "signature of the publisher's function key", *scene.miners[:3])


def test_a_publisher_asked_twice_for_a_key_with_other_miners_refuses(scene: Scene) -> None:
    scene.play(miners=4, minMiners=3)
    envelope = Audit.decode(scene.federation.aggregator.artifacts.get(scene.row.audit)).request
    document = envelope["request"]
    fewer = document | {"submissions": document["submissions"][:3], "maskSums": document["maskSums"][:3]}
    asked = {"request": fewer, "signature": AGGREGATOR.sign("key-request", fewer)}
    url = f"{scene.federation.urls['publisher']}/publisher/function-key"
    with scene.federation.working("publisher_keys"), pytest.raises(RefusedByParty) as refused:
        send("POST", url, body=canonical(asked), content_type="application/json", max_bytes=10**6, timeout=30)
    assert refused.value.status == 409


def test_an_aggregator_that_equivocates_is_caught(scene: Scene) -> None:
    scene.play()
    first = scene.row.block_hash
    scene.watch(scene.miners[0])
    assert scene.miners[0].reasons == ""
    scene.forge(lambda document, audit: (document | {"accuracy": 0.99}, audit))
    scene.watch(scene.miners[0])
    assert f"equivocation: the aggregator signed block {first} for this round too" in scene.miners[0].reasons
    assert scene.miners[0].watcher.book.votes(scene.row.block_hash)[0].fields.verdict == "INVALID"
    assert scene.found().status == "REJECTED"


def test_another_rounds_block_is_caught(scene: Scene) -> None:
    scene.play()
    other = scene.federation.signed(round=2, parentBlockHash=scene.row.block_hash)
    watcher = scene.miners[0].watcher
    found = inspect(other, scene.row.block_hash, {}, watcher.artifacts, watcher.settings, KERNEL, now=time.time())
    assert any("taskHash" in reason for reason in found.reasons)
    assert any("round is 1, expected 2" in reason for reason in found.reasons)


def test_an_aggregator_that_withholds_its_audit_is_found_out_in_time(scene: Scene) -> None:
    task = scene.play()
    scene.set(audit=scene.federation.aggregator.artifacts.put(b""))
    with pytest.raises(Rejected):
        Audit.decode(b"")
    scene.watch(now=time.time() + 0.75 * task.timeout)
    assert scene.found().status == "REJECTED"


def test_an_aggregator_that_drops_too_many_groups_is_caught(scene: Scene) -> None:
    task = scene.play()

    def alter(document, audit):
        sums = np.frombuffer(audit.aggregate, dtype="<i8").copy()
        sums[: 5 * task.quantization.pack] = 0
        model = new_model(scene.miners[0].watcher.artifacts.path(task.model_sha256.hex()), task, sums, None, 3)
        changes = {
            "dropped": [0, 1, 2, 3, 4],
            "aggregateHash": to_hex(keccak256(sums.tobytes())),
            "modelHash": to_hex(sha256(model)),
        }
        return document | changes, dataclasses.replace(audit, aggregate=sums.tobytes())

    scene.forge(alter)
    caught(scene, "FLFLEET_MAX_DROPPED_SHARE")
