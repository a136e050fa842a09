"""Stage 5, commit: the update's norm, committed to before anybody sees it. The opening is on the disk first."""

import json
import secrets

import numpy as np
from numpy.typing import NDArray

from pipeline.nddfe.score import NONCE_BYTES, commitment, score_uint
from pipeline.protocol.encodings import to_hex
from pipeline.stages.contract import Job, Output


def run(job: Job) -> Output:
    """Artifact `opening` (durable), JSON {"score": decimal, "nonce": hex}; figure `scoreCommit`."""
    values: NDArray[np.int32] = job.artifacts.get_array(job.inputs["values"])
    score = score_uint(values, job.task.quantization.scale)
    nonce = secrets.token_bytes(NONCE_BYTES)
    opening = json.dumps({"score": str(score), "nonce": to_hex(nonce)}).encode()
    digest = job.artifacts.put(opening, durable=True)
    committed = commitment(score, nonce, job.task.task_id, job.identity.address)
    return Output(artifacts={"opening": digest}, figures={"scoreCommit": to_hex(committed)})
