"""Stage 6, encrypt: the ciphertext, its proof and the header to be signed. Needs public keys alone; e is forgotten here."""

import numpy as np
from numpy.typing import NDArray

from pipeline.curve.select import kernel
from pipeline.nddfe.encrypt import Randomness, encrypt
from pipeline.nddfe.packing import pack
from pipeline.protocol.encodings import from_hex
from pipeline.protocol.signing import canonical
from pipeline.stages.contract import Job, Output


def run(job: Job) -> Output:
    """Artifacts `header` (JSON, unsigned) and `ciphertext` (points32), both durable."""
    task, store = job.task, job.artifacts
    values: NDArray[np.int32] = store.get_array(job.inputs["values"])
    encryption = encrypt(
        kernel(job.settings.curve_kernel, job.settings.cache),
        task,
        job.identity.point33,
        pack(values, task.base, task.quantization.pack),
        score_commit=from_hex(job.figures["scoreCommit"], 32),
        wish=store.get(job.inputs["wish"]) if "wish" in job.inputs else None,
        randomness=Randomness.fresh(),
    )
    artifacts = {
        "header": store.put(canonical(encryption.header), durable=True),
        "ciphertext": store.put(encryption.ciphertext, durable=True),
    }
    return Output(artifacts=artifacts, figures={"ciphertextBytes": len(encryption.ciphertext)})
