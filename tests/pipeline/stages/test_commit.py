import json

from pipeline.nddfe.score import commitment
from pipeline.stages import commit
from tests.known_answers import raw
from tests.pipeline.stages.jobs import MINER, SCORE_ADDRESS, TASK, job_with_values


def test_the_opening_opens_what_the_run_commits_to(tmp_path):
    job = job_with_values(tmp_path)
    output = commit.run(job)
    opening = json.loads(job.artifacts.get(output.artifacts["opening"]))
    assert opening["score"] == MINER["score"]
    expected = commitment(int(opening["score"]), raw(opening["nonce"]), TASK.task_id, SCORE_ADDRESS)
    assert output.figures == {"scoreCommit": "0x" + expected.hex()}


def test_every_run_has_a_fresh_nonce_and_no_figure_shows_it(tmp_path):
    job = job_with_values(tmp_path)
    outputs = [commit.run(job) for _ in range(2)]
    nonces = {json.loads(job.artifacts.get(one.artifacts["opening"]))["nonce"] for one in outputs}
    assert len(nonces) == 2
    assert not any(nonce[2:] in str(one.figures) for one in outputs for nonce in nonces)


def test_the_opening_is_written_durably(tmp_path, monkeypatch):
    job = job_with_values(tmp_path)
    asked = []
    put = job.artifacts.put

    def recorded(data, *, durable=False):
        asked.append(durable)
        return put(data, durable=durable)

    monkeypatch.setattr(job.artifacts, "put", recorded)
    commit.run(job)
    assert asked == [True]
