import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.errors import BadSignature, Corrupt, Malformed, Misconfigured, Rejected, Retryable
from pipeline.protocol.signing import SecretKey, check_signature
from pipeline.protocol.strict import read_json
from pipeline.protocol.submission import Header, Submission
from pipeline.protocol.task import Task
from pipeline.settings import Settings
from pipeline.stages import submit
from pipeline.stages.contract import Job
from pipeline.stores.artifacts import ArtifactStore
from pipeline.stores.keys import Identity
from tests.scripted_server import Script, serving

CASES = json.loads(Path("tests/vectors/ndd_fe_1.json").read_text())["cases"]
CASE = CASES[0]
MINER = CASE["miners"][0]
AGGREGATOR = SecretKey(bytes.fromhex(CASE["aggregatorSecretKey"][2:]))
KEY = SecretKey(bytes.fromhex(MINER["secretKey"][2:]))


def receipt(key: SecretKey = AGGREGATOR, **changes) -> dict:
    body = {"submissionHash": MINER["submissionHash"], "receivedAt": int(time.time())} | changes
    return body | {"signature": key.sign("receipt", body)}


GOOD = (202, receipt(), {})


@pytest.fixture
def notes() -> dict[str, str]:
    return {}


@pytest.fixture
def job(tmp_path, notes) -> Job:
    store = ArtifactStore((tmp_path / "artifacts").as_uri(), tmp_path / "scratch")
    return Job(
        run_id="r",
        task=Task.from_document(CASE["task"]),
        identity=Identity(name="one", address=KEY.address, point33=KEY.point33, data=tmp_path),
        inputs={
            "header": store.put(json.dumps(MINER["header"]).encode()),
            "ciphertext": store.put(bytes.fromhex(MINER["ciphertext"][2:])),
            "opening": store.put(b"opening"),
        },
        figures={},
        artifacts=store,
        settings=Settings(home=tmp_path, http_timeout_seconds=5),
        secret_key=lambda: KEY,
        note=notes.__setitem__,
    )


def run(job: Job, *answers):
    """The stage against a scripted aggregator. Returns what it returns, and the bodies that were sent."""
    with serving(Script(answers=list(answers))) as script:
        job = replace(job, task=replace(job.task, aggregator_url=script.url))
        try:
            return submit.run(job), [body for _, body in script.requests]
        finally:
            assert {path for path, _ in script.requests} <= {"/aggregator/submit-update"}
            job.figures["sent"] = [body for _, body in script.requests]


def test_a_submission_is_signed_kept_and_sent_and_the_receipt_kept(job, notes):
    output, (sent,) = run(job, GOOD)
    submission = Submission.decode(sent)
    assert submission.header == Header.from_document(MINER["header"])
    check_signature("submission", MINER["header"], submission.signature, KEY.address, "the miner")
    assert submission.signature == MINER["signature"]
    assert notes == {"payload": output.artifacts["payload"]}
    assert job.artifacts.get(output.artifacts["payload"]) == sent
    assert read_json(job.artifacts.get(output.artifacts["receipt"])) == GOOD[1]
    assert output.figures["submissionHash"] == MINER["submissionHash"]


def test_the_payload_is_part_of_the_run_before_the_first_byte_leaves(job):
    def note(_name: str, digest: str) -> None:
        assert job.artifacts.exists(digest)
        raise RuntimeError("killed here")

    with pytest.raises(RuntimeError):
        run(replace(job, note=note), GOOD)
    assert job.figures["sent"] == []


def test_the_same_bytes_are_sent_again_after_a_reset(job, notes):
    with pytest.raises(Retryable):
        run(job, "reset")
    (first,) = job.figures["sent"]
    # Another attempt, on another worker: it has no key, so it cannot make others.
    _, (second,) = run(replace(job, inputs={**job.inputs, **notes}, secret_key=None), GOOD)
    assert second == first


def test_a_damaged_payload_is_made_again_only_if_it_comes_out_alike(job, notes):
    with pytest.raises(Retryable):
        run(job, "reset")
    (first,) = job.figures["sent"]
    job.artifacts.delete(notes["payload"])
    again = replace(job, inputs={**job.inputs, **notes})
    _, (second,) = run(again, GOOD)
    assert second == first
    other = replace(again, inputs={**again.inputs, "payload": "0" * 64})
    with pytest.raises(Corrupt, match="does not come out alike"):
        run(other, GOOD)
    assert job.figures["sent"] == []


def test_what_may_be_out_is_sent_again_whatever_became_of_its_parts(job, notes):
    with pytest.raises(Retryable):
        run(job, "reset")
    (first,) = job.figures["sent"]
    for name in ("header", "ciphertext"):
        job.artifacts.delete(job.inputs[name])
    output, (second,) = run(replace(job, inputs={**job.inputs, **notes}), GOOD)
    assert second == first
    assert output.figures["submissionHash"] == MINER["submissionHash"]


def test_an_aggregator_that_does_not_know_the_round_yet_is_asked_again(job):
    answer = {"error": "not found", "reasons": ["unknown task"]}
    with pytest.raises(Retryable, match="does not know the round yet: unknown task"):
        run(job, (404, answer, {}))


@pytest.mark.parametrize("name", ["opening", "header", "ciphertext"])
@pytest.mark.parametrize("damage", ["missing", "lost"])
def test_nothing_leaves_without_the_opening_and_the_ciphertext(job, name, damage):
    if damage == "missing":
        job = replace(job, inputs={key: digest for key, digest in job.inputs.items() if key != name})
    else:
        job.artifacts.delete(job.inputs[name])
    with pytest.raises(Corrupt):
        run(job, GOOD)
    assert job.figures["sent"] == []


def test_an_aggregator_that_is_busy_says_when_to_come_back(job):
    with pytest.raises(Retryable, match="503") as caught:
        run(job, (503, {}, {"Retry-After": "17"}))
    assert caught.value.retry_after == 17


@pytest.mark.parametrize(
    ("status", "words"),
    [(409, "holds another submission"), (410, "the round is closed"), (422, "refused"), (413, "larger"), (403, "403")],
)
def test_a_refusal_is_final_and_names_every_reason(job, status, words):
    answer = {"error": "no", "reasons": ["bad point", "bad proof"]}
    with pytest.raises(Rejected, match=words) as caught:
        run(job, (status, answer, {}))
    assert list(caught.value.reasons)[1:] == ["bad point", "bad proof"]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((202, receipt(key=KEY), {}), BadSignature),
        ((202, receipt() | {"receivedAt": 1}, {}), BadSignature),
        ((202, {**receipt(), "signature": "0x" + "0" * 130}, {}), BadSignature),
        ((202, receipt(submissionHash="0x" + "0" * 64), {}), Malformed),
        ((202, {"ok": True}, {}), Malformed),
        ((202, b"x" * 20_000, {}), Rejected),
        ((200, b"<html>welcome</html>", {}), Retryable),
    ],
    ids=[
        "another key",
        "changed",
        "no signature",
        "another submission",
        "no receipt",
        "too long",
        "not the aggregator",
    ],
)
def test_a_forged_receipt_is_none(job, answer, error):
    with pytest.raises(error):
        run(job, answer)


def test_the_wrong_key_signs_nothing(job):
    with pytest.raises(Misconfigured, match="was encrypted by"):
        run(replace(job, secret_key=lambda: AGGREGATOR), GOOD)
    with pytest.raises(Misconfigured, match="must hold the key"):
        run(replace(job, secret_key=None), GOOD)


def test_a_wish_travels_with_it(job):
    wish = job.artifacts.put(b"\x01\x00\x00")
    _, (sent,) = run(replace(job, inputs={**job.inputs, "wish": wish}), GOOD)
    assert Submission.decode(sent).wish == b"\x01\x00\x00"
