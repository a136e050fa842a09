"""Models, supports and tasks between our own services and the backend (docs/protocol.md, sections 2 and 8)."""

import tempfile
from pathlib import Path

from pipeline.errors import Rejected
from pipeline.parties.http import fetch_into, send
from pipeline.parties.ipfs.sources import IpfsSources
from pipeline.parties.model_sources import fetch_model_file
from pipeline.protocol.encodings import count_bits, keccak256_of, to_hex
from pipeline.protocol.file_bytes import pieces
from pipeline.protocol.signing import SecretKey, canonical
from pipeline.protocol.task import Task
from pipeline.settings import Settings
from pipeline.stores.artifacts import ArtifactStore

#: Bytes of an answer that only says yes.
_SHORT = 64 * 1024


def model_url(settings: Settings, digest: str) -> str:
    """Where the backend keeps a model; `digest` is its SHA-256, 64 hex digits."""
    return f"{settings.backend_url.rstrip('/')}/models/{digest}"


def keep_model(task: Task, artifacts: ArtifactStore, settings: Settings) -> str:
    """Gets the task's model into the store, once per content; its digest. Raises Rejected, Retryable or Misconfigured."""
    digest = task.model_sha256.hex()
    if artifacts.is_whole(digest):
        return digest
    with tempfile.TemporaryDirectory(prefix="flfleet-") as folder:
        path = Path(folder) / "model"
        fetch_model_file(
            path,
            url=task.model_url,
            ipfs_hash=task.model_ipfs_hash,
            sha256=task.model_sha256,
            sources=IpfsSources(api=settings.ipfs_api, gateways=settings.ipfs_gateways),
            max_bytes=settings.max_model_bytes,
            timeout=settings.http_timeout_seconds,
        )
        return artifacts.put_file(path, durable=True)


def keep_support(task: Task, artifacts: ArtifactStore, settings: Settings) -> tuple[str | None, int]:
    """Gets the round's bitmap into the store: its digest (None: all coordinates), and the number of coordinates.

    Raises Rejected or Retryable.
    """
    if task.support is None:
        return None, task.dimension
    size = (task.dimension + 7) // 8
    with artifacts.temporary() as file:
        bitmap = fetch_into(file, task.support.url, max_bytes=size, timeout=settings.http_timeout_seconds)
    if to_hex(keccak256_of(bitmap)) != task.support.hash:
        raise Rejected(f"the support at {task.support.url} is not the one that the task names")
    coordinates = count_bits(bitmap, task.dimension, "support")
    if coordinates == 0:
        raise Rejected("the support names no coordinate")
    return artifacts.put_pieces(pieces(bitmap), durable=True), coordinates


def upload_model(artifacts: ArtifactStore, digest: str, key: SecretKey, settings: Settings) -> None:
    """Puts a model of the store on the backend; twice does no harm. Raises Rejected or Retryable."""
    signature = key.sign("model", {"modelSHA256": "0x" + digest})
    send(
        "PUT",
        model_url(settings, digest),
        body=artifacts.opened(digest),
        content_type="application/octet-stream",
        headers={"X-Signature": signature},
        max_bytes=_SHORT,
        timeout=settings.http_timeout_seconds,
    )


def post_task(task: Task, settings: Settings) -> None:
    """Puts a signed task on the board; twice does no harm. Raises Rejected or Retryable."""
    send(
        "POST",
        f"{settings.backend_url.rstrip('/')}/tasks",
        body=canonical(task.document),
        content_type="application/json",
        max_bytes=_SHORT,
        timeout=settings.http_timeout_seconds,
    )
