"""Stage 6, encrypt: the ciphertext, its proof and the header to be signed. Needs public keys alone; e is forgotten here."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.curve.contract import Kernel, Q
from pipeline.curve.select import kernel
from pipeline.nddfe.encryption import Randomness, encrypt, mask_sum, value_sum
from pipeline.nddfe.masks import miner_keys
from pipeline.nddfe.packing import packed
from pipeline.nddfe.proof import prove
from pipeline.protocol.encodings import PROTOCOL, keccak256, public_key_text, scalar_to_hex, to_hex
from pipeline.protocol.signing import canonical, digest_of
from pipeline.protocol.task import Task
from pipeline.stages.contract import Job, Output


def run(job: Job) -> Output:
    """Artifacts `header` (JSON, unsigned) and `ciphertext` (points32), both durable."""
    values: NDArray[np.int32] = job.artifacts.get_array(job.inputs["values"])
    wish = job.artifacts.get(job.inputs["wish"]) if "wish" in job.inputs else None
    header, ciphertext = encrypt_update(
        job.task,
        values,
        miner=job.identity.address,
        miner_key=job.identity.point33,
        score_commit=job.figures["score_commit"],
        wish=wish,
        randomness=Randomness.fresh(),
        kernel=kernel(job.settings.curve_kernel),
    )
    artifacts = {
        "header": job.artifacts.put(canonical(header), durable=True),
        "ciphertext": job.artifacts.put(ciphertext, durable=True),
    }
    return Output(artifacts=artifacts, figures={"ciphertext_bytes": len(ciphertext)})


def encrypt_update(
    task: Task,
    values: NDArray[np.int32],
    *,
    miner: str,
    miner_key: bytes,
    score_commit: str,
    wish: bytes | None,
    randomness: Randomness,
    kernel: Kernel,
) -> tuple[dict[str, Any], bytes]:
    """The header (PROTOCOL.md section 5) and the ciphertext (section 4) of int32[k]."""
    keys = miner_keys(task, randomness.ephemeral, miner_key)
    groups = packed(values, task.quantization.pack, task.base)
    points = encrypt(groups, keys, task.publisher_key, randomness.blinding, kernel)
    ciphertext = kernel.write_points32(points)
    header: dict[str, Any] = {
        "protocol": PROTOCOL,
        "taskID": task.task_id,
        "round": task.round,
        "taskHash": task.task_hash,
        "miner": miner,
        "minerPublicKey": public_key_text(miner_key),
        "maskKey": to_hex(randomness.ephemeral.point33),
        "ciphertextHash": to_hex(keccak256(ciphertext)),
        "scoreCommit": score_commit,
    }
    if wish is not None:
        header["wishHash"] = to_hex(keccak256(wish))
    statement = digest_of("statement", header)
    own, theirs = (mask_sum(key, statement, len(points), kernel) for key in (keys.publisher, keys.aggregator))
    value = value_sum(groups, randomness.blinding, statement, kernel)
    proof = prove(statement, points, (own + theirs) % Q, value, randomness.beta, kernel)
    header["proof"] = {"t": to_hex(proof.t), "a": scalar_to_hex(proof.a), "z": scalar_to_hex(proof.z)}
    return header, ciphertext
