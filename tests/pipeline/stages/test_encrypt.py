import json
from dataclasses import replace

import numpy as np
import pytest

from pipeline.aggregation.collect import check_submission
from pipeline.curve.select import kernel
from pipeline.errors import Corrupt
from pipeline.nddfe.encrypt import Randomness
from pipeline.protocol.submission import Header, Submission
from pipeline.stages import commit, encrypt
from tests.known_answers import raw, support_size
from tests.pipeline.stages.jobs import CASE, MINER, SECRET, TASK, job_with_values, support, wish, with_inputs


def committed(folder, values=None):
    job = with_inputs(job_with_values(folder, values), support=support(), wish=wish())
    output = commit.run(job)
    return replace(job, inputs={**job.inputs, **output.artifacts}, figures=output.figures)


def test_what_the_stage_encrypts_gets_in_once_it_is_signed(tmp_path):
    job = committed(tmp_path)
    output = encrypt.run(job)
    document = json.loads(job.artifacts.get(output.artifacts["header"]))
    submission = Submission(
        header=Header.from_document(document),
        signature=SECRET.sign("submission", document),
        ciphertext=job.artifacts.get(output.artifacts["ciphertext"]),
        wish=wish(),
    )
    size = support_size(CASE)
    assert len(check_submission(TASK, submission, size, kernel("reference"))) == TASK.groups(size) + 1
    assert document["scoreCommit"] == job.figures["scoreCommit"]
    assert output.figures == {"points": 6, "ciphertextBytes": 193}


def test_known_randomness_gives_the_known_header_and_ciphertext(tmp_path, monkeypatch):
    opening = json.dumps({"score": MINER["score"], "nonce": MINER["nonce"]}).encode()
    job = with_inputs(job_with_values(tmp_path), support=support(), wish=wish(), opening=opening)
    job = replace(job, figures={"scoreCommit": MINER["header"]["scoreCommit"]})
    known = Randomness(
        ephemeral=int(MINER["ephemeralSecret"], 16),
        blinding=int(MINER["blindingValue"], 16),
        beta=int(MINER["beta"], 16),
    )
    monkeypatch.setattr(Randomness, "fresh", classmethod(lambda _cls: known))
    output = encrypt.run(job)
    assert json.loads(job.artifacts.get(output.artifacts["header"])) == MINER["header"]
    assert job.artifacts.get(output.artifacts["ciphertext"]) == raw(MINER["ciphertext"])


def test_running_twice_never_uses_an_ephemeral_key_twice(tmp_path):
    job = committed(tmp_path)
    headers = [json.loads(job.artifacts.get(encrypt.run(job).artifacts["header"])) for _ in range(2)]
    assert headers[0]["maskKey"] != headers[1]["maskKey"]


def test_without_a_support_all_coordinates_are_sent_and_without_a_wish_none_is_named(tmp_path):
    job = committed(tmp_path, np.zeros(TASK.dimension, dtype=np.int32))
    job = replace(job, inputs={name: digest for name, digest in job.inputs.items() if name in ("values", "opening")})
    output = encrypt.run(job)
    assert "wishHash" not in json.loads(job.artifacts.get(output.artifacts["header"]))
    assert output.figures["points"] == TASK.groups(TASK.dimension) + 1


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.zeros(21, dtype=np.int32), "expected 22 signed integers"),
        (np.zeros(22, dtype=np.float32), "expected 22 signed integers, got float32"),
        (np.full(22, 4, dtype=np.int32), "beyond c = 3"),
        (np.full(22, -4, dtype=np.int32), "beyond c = 3"),
    ],
)
def test_values_that_the_quantisation_cannot_have_made_are_refused(tmp_path, values, reason):
    job = committed(tmp_path)
    wrong = replace(job, inputs={**job.inputs, "values": job.artifacts.put_array(values)})
    with pytest.raises(Corrupt, match=reason):
        encrypt.run(wrong)


def test_an_opening_of_another_commitment_is_refused(tmp_path):
    job = committed(tmp_path)
    with pytest.raises(Corrupt, match="the run committed to 0x00"):
        encrypt.run(replace(job, figures={"scoreCommit": "0x00"}))
