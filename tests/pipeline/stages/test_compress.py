import json
import subprocess
import sys

import numpy as np
import pytest

from pipeline.protocol.encodings import bitmap_from_indices, indices_from_bitmap
from pipeline.stages.compress import run
from pipeline.stages.contract import PreviousRun
from tests.learning_jobs import HASH, MINERS, make_block, make_job, make_task

DELTA = np.linspace(-0.1, 0.1, 21).astype(np.float32)
SUPPORT = [0, 1, 2, 10, 19, 20]
SECOND = {"round": 2, "parentBlockHash": HASH}


def job_for(tmp_path, task=None, *, delta=DELTA, support=None, **changes):
    job = make_job(tmp_path, task or make_task(), **changes)
    inputs = {"delta": job.artifacts.put_array(delta), **job.inputs}
    if support is not None:
        inputs["support"] = job.artifacts.put(bitmap_from_indices(support, 21))
    return make_job(tmp_path, job.task, inputs=inputs, previous=job.previous)


def arrays(job, output):
    values, residual = (np.array(job.artifacts.get_array(output.artifacts[name])) for name in ("values", "residual"))
    return values, residual, indices_from_bitmap(job.artifacts.get(output.artifacts["wish"]), 21)


def test_a_dense_first_round(tmp_path):
    job = job_for(tmp_path)
    output = run(job)
    values, residual, wish = arrays(job, output)
    assert values.dtype == np.int32
    assert values.tolist() == np.rint(np.clip(DELTA.astype(float), -0.05, 0.05) * 100).astype(int).tolist()
    assert residual.tolist() == (DELTA - values / 100).astype(np.float32).tolist()
    assert len(wish) == output.figures["wished"] == 6
    assert output.figures["coordinates"] == 21
    assert output.figures["nonzero"] == np.count_nonzero(values)
    assert output.figures["atLimit"] == (np.abs(values) == 5).sum()
    assert output.figures["residualNorm"] == pytest.approx(np.linalg.norm(residual.astype(float)))


def test_a_round_on_a_support_keeps_the_rest(tmp_path):
    job = job_for(tmp_path, support=SUPPORT)
    values, residual, wish = arrays(job, run(job))
    assert len(values) == 6
    elsewhere = np.setdiff1d(np.arange(21), SUPPORT)
    assert residual[elsewhere].tolist() == DELTA[elsewhere].tolist()
    score = np.abs(residual + DELTA)
    assert score[wish].min() >= np.delete(score, wish).max()


def test_no_more_is_wished_for_than_moves(tmp_path):
    delta = np.zeros(21, dtype=np.float32)
    delta[7] = 0.03
    job = job_for(tmp_path, delta=delta)
    assert arrays(job, run(job))[2].tolist() == [7]


@pytest.fixture
def second_round(tmp_path):
    """Makes the second round's job after a first one on SUPPORT, with a block that says what became of it."""

    def make(*, participants=(HASH,), dropped=(), block_round=1, own_round=1, task=None):
        first = job_for(tmp_path, support=SUPPORT)
        made = run(first)
        previous = PreviousRun(
            round=own_round,
            submission_hash=HASH,
            artifacts={**made.artifacts, "support": first.inputs["support"]},
            task=make_task(),
        )
        entries = [
            {"miner": miner.address, "submissionHash": entry, "scoreCommit": HASH}
            for miner, entry in zip(MINERS, participants, strict=False)
        ]
        block = make_block(participants=entries, dropped=list(dropped), round=block_round)
        inputs = {"parent_block": first.artifacts.put(json.dumps(block).encode())}
        task = task or make_task(**SECOND)
        nothing = np.zeros(task.dimension, dtype=np.float32)
        job = job_for(tmp_path, task, delta=nothing, inputs=inputs, previous=previous)
        values, residual, _ = arrays(first, made)
        sent = np.zeros(21)
        sent[SUPPORT] = values / 100
        return job, residual, sent.astype(np.float32)

    return make


def brought_in(job):
    """v of a round without a delta: what waited before it."""
    output = run(job)
    values, residual, _ = arrays(job, output)
    return values / 100 + residual


OTHER = "0x" + "cd" * 32


def test_an_accepted_update_leaves_only_its_residual(second_round):
    job, residual, _ = second_round()
    assert np.allclose(brought_in(job), residual, atol=1e-7)


def test_an_update_that_is_not_among_the_participants_comes_back_whole(second_round):
    job, residual, sent = second_round(participants=(OTHER,))
    assert sent.any()
    assert np.allclose(brought_in(job), residual + sent, atol=1e-7)


def test_dropped_groups_come_back(second_round):
    job, residual, sent = second_round(participants=(OTHER, HASH), dropped=[1])
    back = np.zeros(21)
    back[SUPPORT[4:]] = sent[SUPPORT[4:]]
    assert back.any()
    assert np.allclose(brought_in(job), residual + back, atol=1e-7)


def test_a_parent_from_before_the_update_means_that_its_round_had_no_block(second_round):
    task = make_task(**(SECOND | {"round": 4}))
    job, residual, sent = second_round(block_round=1, own_round=2, task=task)
    assert np.allclose(brought_in(job), residual + sent, atol=1e-7)


def test_after_a_round_that_was_sat_out_no_update_counts_twice(second_round):
    task = make_task(**(SECOND | {"round": 4}))
    job, residual, _ = second_round(participants=(OTHER,), dropped=[0], block_round=3, task=task)
    assert np.allclose(brought_in(job), residual, atol=1e-7)


def test_a_model_of_another_dimension_starts_without_a_residual(second_round):
    architecture = {"name": "linear", "kwargs": {"in_features": 4, "num_classes": 4}}
    job, _, _ = second_round(task=make_task(**SECOND, dimension=20, architecture=architecture))
    output = run(job)
    assert not job.artifacts.get_array(output.artifacts["residual"]).any()
    assert job.artifacts.get(output.artifacts["wish"]) == bytes(3)


def test_a_model_that_is_not_the_parent_blocks_starts_without_a_residual(second_round):
    job, residual, _ = second_round(task=make_task(**SECOND, modelSHA256="0x" + "ef" * 32))
    assert residual.any()
    output = run(job)
    assert not job.artifacts.get_array(output.artifacts["residual"]).any()
    assert not job.artifacts.get_array(output.artifacts["values"]).any()


def test_an_update_is_neither_lost_nor_counted_twice_over_many_rounds(tmp_path):
    """Whatever became of its rounds, what the sums took and what still waits is what was learnt."""
    rng = np.random.default_rng(3)
    learnt, taken, previous, inputs = np.zeros(21), np.zeros(21), None, {}
    fates = ["taken", "left out", "no block", "first group dropped", "taken", "no block", "no block", "taken"]
    last_block = None
    for number, fate in enumerate(fates, 1):
        task = make_task(round=number, parentBlockHash=HASH if number > 1 else None)
        delta = rng.normal(scale=0.05, size=21).astype(np.float32)
        support = sorted(rng.choice(21, size=6, replace=False).tolist()) if number > 1 else None
        job = job_for(tmp_path, task, delta=delta, support=support, inputs=inputs, previous=previous)
        output = run(job)
        values, residual, _ = arrays(job, output)
        learnt += delta
        sent = np.zeros(21)
        sent[support if support is not None else slice(None)] = values / 100
        kept = sent.copy()
        if fate in ("left out", "no block"):
            kept[:] = 0
        elif fate == "first group dropped":
            kept[(support or list(range(21)))[:4]] = 0
        taken += kept
        assert np.allclose(taken + (sent - kept) + residual, learnt, atol=1e-6), (number, fate)
        artifacts = dict(output.artifacts) | ({"support": job.inputs["support"]} if support is not None else {})
        previous = PreviousRun(round=number, submission_hash=HASH, artifacts=artifacts, task=task)
        if fate != "no block":
            entry = {
                "miner": MINERS[0].address,
                "submissionHash": OTHER if fate == "left out" else HASH,
                "scoreCommit": HASH,
            }
            dropped = [0] if fate == "first group dropped" else []
            last_block = make_block(round=number, participants=[entry], dropped=dropped)
        inputs = {"parent_block": job.artifacts.put(json.dumps(last_block).encode())}


def test_the_stages_that_need_no_torch_do_not_import_it():
    program = "import sys, pipeline.stages.compress, pipeline.stages.data, pipeline.stages.fetch, pipeline.stages.train, pipeline.aggregation.evaluate; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
