"""What one round leaves for the next lives through kill -9, and comes out the same number."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from pipeline.learning.compression import compress, returned
from pipeline.protocol.encodings import bitmap_from_indices
from pipeline.settings import current
from pipeline.stages.compress import run as compress_stage
from pipeline.stages.contract import Output, Stage
from pipeline.stores.db.owners import this_process
from tasks.app import app
from tasks.holdings import artifacts
from tests.dying_workers import miner_compresses, run
from tests.learning_jobs import make_block
from tests.signed_tasks import MINERS, make_task

ADDRESS, DIMENSION = MINERS[0].address, 21
QUANTIZATION = {"scale": 100, "clip": 0.05, "pack": 4}
HEADER = json.loads(Path("tests/vectors/ndd_fe_1.json").read_text())["cases"][0]["miners"][0]
DELTAS = np.random.default_rng(5).normal(scale=0.06, size=(2, DIMENSION)).astype(np.float32)
SUPPORT = np.array([1, 4, 5, 9, 16, 20])


def do(stage: str, run_id: str) -> None:
    import tasks.stages  # noqa: F401

    app.tasks[f"flfleet.{stage}"].apply((run_id,))


def begin(fleet, stages, number: int, inputs: dict[str, str]) -> str:
    """A run that is due for compress, with round `number`'s delta."""
    task = make_task(
        round=number,
        dimension=DIMENSION,
        quantization=QUANTIZATION,
        parentBlockHash="0x" + "0" * 64 if number > 1 else None,
        modelSHA256="0x" + ("ab" if number > 1 else "01") * 32,
    )
    run_id = fleet.add_run(task, ADDRESS, "miner", max_submissions=9)
    stages[Stage.FETCH] = lambda job: Output(artifacts=inputs)
    stages[Stage.TRAIN] = lambda job: Output(artifacts={"delta": artifacts().put_array(DELTAS[number - 1])})
    stages[Stage.COMPRESS] = compress_stage
    for stage in (Stage.FETCH, Stage.DATA, Stage.TRAIN):
        do(stage, run_id)
    return run_id


def killed(run_id: str, *, before: bool) -> None:
    names = [name for name in os.environ if name.startswith("FLFLEET_")]
    assert (
        run(miner_compresses, current().home, run_id, {name: os.environ[name] for name in names}, before)
        == -signal.SIGKILL
    )


@pytest.fixture
def first(fleet, stages) -> str:
    """Round 1, killed before compress is committed and again while its submission leaves: the bytes may be out."""
    run_id = begin(fleet, stages, 1, {})
    killed(run_id, before=True)
    do("compress", run_id)
    do("commit", run_id)
    stages[Stage.ENCRYPT] = lambda job: Output(
        artifacts={"header": artifacts().put(json.dumps(HEADER["header"]).encode())}
    )
    do("encrypt", run_id)
    fleet.note(fleet.claim(run_id, Stage.SUBMIT, this_process()), "payload", "a" * 64)
    return run_id


@pytest.mark.parametrize("before", [True, False], ids=["before the commit", "after the commit"])
@pytest.mark.parametrize("taken", [True, False], ids=["in the sum", "not in the sum"])
def test_a_residual_comes_out_the_same_over_kills_at_its_writing(fleet, stages, first, before, taken):
    entry = {"miner": ADDRESS, "submissionHash": HEADER["submissionHash"], "scoreCommit": "0x" + "00" * 32}
    if not taken:
        entry["submissionHash"] = "0x" + "cd" * 32
    block = make_block(participants=[entry])
    inputs = {
        "parent_block": artifacts().put(json.dumps(block).encode()),
        "support": artifacts().put(bitmap_from_indices(SUPPORT, DIMENSION)),
    }
    second = begin(fleet, stages, 2, inputs)
    killed(second, before=before)
    do("compress", second)

    assert fleet.run(second).stage is Stage.COMMIT
    found = fleet.run(second).artifacts
    one = compress(DELTAS[0], None, None, scale=100, clip=0.05)
    back = returned(one.residual, one.values, None, scale=100, pack=4, dropped=[] if taken else None)
    two = compress(DELTAS[1], back, SUPPORT, scale=100, clip=0.05)
    assert np.array_equal(artifacts().get_array(found["residual"]), two.residual)
    assert np.array_equal(artifacts().get_array(found["values"]), two.values)
