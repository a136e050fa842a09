"""Stage 1, fetch: the task's model, the round's support and the block before, each checked against the signed task.

Once per content, however many miners and rounds use it: what is in the artifact store under the task's hash is not asked for.
"""

import tempfile
from pathlib import Path

from pipeline.errors import Corrupt, Misconfigured, Rejected
from pipeline.learning.checkpoints import dimension_of, read_model
from pipeline.parties.blocks import fetch_block
from pipeline.parties.http import download, fetch_bytes
from pipeline.protocol.encodings import indices_from_bitmap, keccak256, to_hex
from pipeline.protocol.signing import canonical
from pipeline.protocol.task import Task
from pipeline.settings import Settings
from pipeline.stages.contract import Job, Output
from pipeline.stores.artifacts import ArtifactStore


def run(job: Job) -> Output:
    """Artifacts `model`, `support` where the task names one, `parent_block` from round 2 on."""
    task, store, settings = job.task, job.artifacts, job.settings
    model, dimension = fetch_model(task, store, settings)
    artifacts = {"model": model}
    coordinates = task.dimension
    if task.support is not None:
        artifacts["support"], coordinates = fetch_support(task, store, settings)
    if task.parent_block_hash is not None:
        block = fetch_block(
            task.aggregator_url, task.parent_block_hash, task.aggregator_address, settings.http_timeout_seconds
        )
        artifacts["parent_block"] = store.put(canonical(block.document))
    return Output(artifacts=artifacts, figures={"dimension": dimension, "coordinates": coordinates})


def fetch_model(task: Task, store: ArtifactStore, settings: Settings) -> tuple[str, int]:
    """Gets and reads the model; returns its digest and d. Raises Rejected, Retryable or Misconfigured."""
    digest = task.model_sha256.hex()
    try:
        path = store.path(digest)
    except Corrupt:  # missing, or damaged in the store: every run over this model would fail on it for ever
        _download_model(task, store, settings)
        path = store.path(digest)
    model = read_model(path, task.architecture, dimension=task.dimension, max_dimension=settings.max_dimension)
    return digest, dimension_of(model.state)


def fetch_support(task: Task, store: ArtifactStore, settings: Settings) -> tuple[str, int]:
    """Gets the round's bitmap; returns its digest and the number of coordinates. Raises Rejected or Retryable."""
    assert task.support is not None
    size = (task.dimension + 7) // 8
    bitmap = fetch_bytes(task.support.url, max_bytes=size, timeout=settings.http_timeout_seconds)
    if to_hex(keccak256(bitmap)) != task.support.hash:
        raise Rejected(f"the support at {task.support.url} is not the one that the task names")
    coordinates = len(indices_from_bitmap(bitmap, task.dimension, "support"))
    if coordinates < settings.min_coordinates:
        raise Rejected(
            f"the support has {coordinates} coordinates, fewer than FLFLEET_MIN_COORDINATES ({settings.min_coordinates})"
        )
    return store.put(bitmap), coordinates


def _download_model(task: Task, store: ArtifactStore, settings: Settings) -> None:
    if task.model_url is None:
        raise Misconfigured("the task names its model by IPFS hash alone; this version fetches from modelURL only")
    with tempfile.TemporaryDirectory(prefix="flfleet-") as folder:
        path = Path(folder) / "model"
        download(task.model_url, path, max_bytes=settings.max_model_bytes, timeout=settings.http_timeout_seconds)
        found = store.put_file(path)
    if found != task.model_sha256.hex():
        store.delete(found)
        raise Rejected(
            f"the model at {task.model_url} has the SHA-256 {found}, the task names {task.model_sha256.hex()}"
        )
