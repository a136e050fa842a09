"""The fifth stage: commit to the update's score. The opening is on disk before the commitment leaves (PROTOCOL.md section 3)."""

import json
import secrets

from pipeline.nddfe.score import commitment, score_uint
from pipeline.protocol.encodings import to_hex
from pipeline.stages.contract import Job, Output

NONCE_BYTES = 32


def run(job: Job) -> Output:
    """Reads `values` (signed integers[k]), writes `opening`, names `scoreCommit` in the figures."""
    score = score_uint(job.artifacts.get_array(job.inputs["values"]), job.task.quantization.scale)
    nonce = secrets.token_bytes(NONCE_BYTES)
    commit = commitment(score, nonce, job.task.task_id, job.identity.address)
    # The only copy of the nonce: without it the score can never be revealed.
    opening = json.dumps({"score": str(score), "nonce": to_hex(nonce)}).encode()
    digest = job.artifacts.put(opening, durable=True)
    return Output(artifacts={"opening": digest}, figures={"scoreCommit": to_hex(commit)})
