"""Jobs of the stages commit and encrypt, over a known miner of the known round `packed`."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.settings import Settings
from pipeline.stages.contract import Identity, Job
from pipeline.stores.artifacts import ArtifactStore
from tests.known_answers import case_named, raw, secret, task_of

CASE = case_named("packed")
MINER = CASE["miners"][1]
TASK = task_of(CASE)
SECRET = secret(MINER["secretKey"])
SCORE_ADDRESS = SECRET.address


def job_with_values(folder: Path, values: Any = None) -> Job:
    store = ArtifactStore((folder / "artifacts").as_uri(), folder / "scratch")
    array = np.array(MINER["values"], dtype=np.int32) if values is None else values
    return Job(
        run_id="run",
        task=TASK,
        identity=Identity(name="one", address=SECRET.address, point33=SECRET.point33, data=folder),
        inputs={"values": store.put_array(array)},
        figures={},
        artifacts=store,
        settings=Settings(home=folder, curve_kernel="reference"),
    )


def with_inputs(job: Job, **artifacts: bytes) -> Job:
    return replace(job, inputs={**job.inputs, **{name: job.artifacts.put(data) for name, data in artifacts.items()}})


def support() -> bytes:
    return raw(CASE["support"])


def wish() -> bytes:
    return raw(MINER["wish"])
