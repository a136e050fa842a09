"""Stage 1: the task's model, the round's support and the block before, each held against a hash in the signed task.

Nobody who serves them is believed: with another model for one miner than for the rest, a backend could read its update.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.errors import Corrupt, Rejected
from pipeline.parties.blocks import fetch_block
from pipeline.parties.http import fetch_bytes
from pipeline.parties.ipfs.sources import IpfsSources
from pipeline.parties.model_sources import fetch_model_file
from pipeline.protocol.encodings import indices_from_bitmap, keccak256, to_hex
from pipeline.protocol.signing import canonical
from pipeline.protocol.task import Task
from pipeline.settings import Settings
from pipeline.stages.contract import Job, Output
from pipeline.stores.artifacts import ArtifactStore


def run(job: Job) -> Output:
    """Fetches and checks. Artifacts `model`, [`support`], [`parent_block`]; figures modelBytes, architecture, coordinates.

    Raises Retryable, Rejected (BadSignature, Malformed) or Misconfigured as the functions below.
    """
    task, settings = job.task, job.settings
    artifacts = {"model": fetch_model(task, job.artifacts, settings)}
    figures = model_figures(job.artifacts.path(artifacts["model"]), task, settings)
    coordinates = task.dimension
    if task.support is not None:
        bitmap = fetch_support(task, settings)
        coordinates = len(indices_from_bitmap(bitmap, task.dimension, "support"))
        artifacts["support"] = job.artifacts.put(bitmap)
    check_coordinates(coordinates, settings)
    if task.parent_block_hash is not None:
        artifacts["parent_block"] = job.artifacts.put(fetch_parent_block(task, settings))
    return Output(artifacts=artifacts, figures={**figures, "coordinates": coordinates})


def fetch_model(task: Task, artifacts: ArtifactStore, settings: Settings) -> str:
    """Brings the model file into the store, unless it is there, and returns its digest.

    However many miners and rounds ask on a host at once, it is downloaded once. Raises Rejected where the bytes have
    another SHA-256 or are too many, Retryable, Misconfigured where only IPFS could serve it and no source is set.
    """
    digest = task.model_sha256.hex()
    folder = settings.cache / "downloads"
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder / f"{digest}.lock"):
        if _is_stored(artifacts, digest):
            return digest
        # Stays when the source fails for now: the next attempt goes on from there.
        path = folder / f"{digest}.partial"
        try:
            fetch_model_file(
                path,
                url=task.model_url,
                ipfs_hash=task.model_ipfs_hash,
                sha256=task.model_sha256,
                sources=IpfsSources(api=settings.ipfs_api, gateways=settings.ipfs_gateways),
                max_bytes=settings.max_model_bytes,
                timeout=settings.http_timeout_seconds,
            )
        except Rejected:
            path.unlink(missing_ok=True)
            raise
        try:
            return artifacts.put_file(path)
        finally:
            path.unlink(missing_ok=True)


def model_figures(path: Path, task: Task, settings: Settings) -> dict[str, Any]:
    """Reads the model once to judge it: architecture, names, shapes, dimension, finite weights. Raises Rejected."""
    # torch, and only here: this module is also read by those who only want to know a stage's name.
    from pipeline.learning.models.checkpoints import read_model

    model = read_model(
        path,
        task.architecture,
        max_bytes=settings.max_model_bytes,
        max_dimension=settings.max_dimension,
        dimension=task.dimension,
    )
    architecture = {"name": model.architecture.name, "kwargs": model.architecture.kwargs}
    return {"modelBytes": path.stat().st_size, "architecture": architecture}


def fetch_support(task: Task, settings: Settings) -> bytes:
    """The round's bitmap of coordinates. Raises Rejected for another hash or length, Retryable."""
    assert task.support is not None
    size = (task.dimension + 7) // 8
    bitmap = fetch_bytes(task.support.url, max_bytes=size, timeout=settings.http_timeout_seconds)
    if (found := to_hex(keccak256(bitmap))) != task.support.hash:
        raise Rejected(f"support from {task.support.url}: expected keccak256 {task.support.hash}, got {found}")
    return bitmap


def check_coordinates(coordinates: int, settings: Settings) -> None:
    """A sum over few coordinates says much about each miner. Raises Rejected below the operator's floor."""
    if coordinates < settings.min_coordinates:
        raise Rejected(
            f"the round's support has {coordinates} coordinates, at least {settings.min_coordinates} are needed "
            "(FLFLEET_MIN_COORDINATES)"
        )


def fetch_parent_block(task: Task, settings: Settings) -> bytes:
    """The published block that this round builds on, as JSON. Raises BadSignature, Malformed, Rejected or Retryable."""
    assert task.parent_block_hash is not None
    block = fetch_block(
        task.aggregator_url, task.parent_block_hash, task.aggregator_address, settings.http_timeout_seconds
    )
    if block.fields.taskID != task.task_id or block.fields.round >= task.round:
        raise Rejected(
            f"parentBlockHash names round {block.fields.round} of {block.fields.taskID[:64]!r}, "
            f"which does not come before round {task.round} of {task.task_id!r}"
        )
    return canonical(block.document)


def _is_stored(artifacts: ArtifactStore, digest: str) -> bool:
    """Whether the store holds the model whole; damaged bytes are thrown away, to be fetched again."""
    if not artifacts.exists(digest):
        return False
    try:
        artifacts.path(digest)
    except Corrupt:
        artifacts.delete(digest)
        return False
    return True


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process of this host at a time; the kernel gives a dead holder's lock free."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
