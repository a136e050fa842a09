"""A task's model file from wherever it can be had: its URL, else IPFS. Its SHA-256 decides, whatever the source."""

import hashlib
from pathlib import Path

from pipeline.errors import Misconfigured, Rejected, Retryable
from pipeline.parties.http import download
from pipeline.parties.ipfs.sources import IpfsSources


def fetch_model_file(
    path: Path,
    *,
    url: str | None,
    ipfs_hash: str | None,
    sha256: bytes,
    sources: IpfsSources,
    max_bytes: int,
    timeout: float,
) -> str:
    """Writes the model to `path` and returns its source. `path` may hold the beginning that an earlier try left.

    The URL is asked first. Where it fails and the task names a CID, the IPFS sources are asked. Raises Retryable, with what
    came so far kept in `path`, Rejected where no source can ever serve it, Misconfigured where only IPFS could and no source is set.
    """
    failure: Rejected | Retryable | None = None
    if url is not None:
        try:
            return _from_url(path, url, sha256, max_bytes, timeout)
        except (Rejected, Retryable) as error:
            if ipfs_hash is None or not sources:
                raise
            failure = error
    if ipfs_hash is None:
        raise Rejected("the task names no source of its model")
    try:
        return _from_ipfs(path, ipfs_hash, sha256, sources, max_bytes, timeout)
    except Misconfigured:
        raise
    except Retryable as error:
        raise Retryable(_both(failure, error), retry_after=getattr(failure, "retry_after", None)) from None
    except Rejected as error:
        if failure is None:
            raise
        # The URL may work later, even if the CID never will.
        raise (Retryable if isinstance(failure, Retryable) else Rejected)(_both(failure, error)) from None


def _from_url(path: Path, url: str, sha256: bytes, max_bytes: int, timeout: float) -> str:
    resumed = path.exists() and path.stat().st_size > 0
    try:
        download(url, path, max_bytes=max_bytes, timeout=timeout)
        _check(path, sha256, url)
    except Rejected:
        path.unlink(missing_ok=True)
        if not resumed:
            raise
        # The beginning may be of another file: once more, from the start.
        return _from_url(path, url, sha256, max_bytes, timeout)
    return url


def _from_ipfs(path: Path, ipfs_hash: str, sha256: bytes, sources: IpfsSources, max_bytes: int, timeout: float) -> str:
    whole = path.with_name(f"{path.name}.ipfs")
    try:
        source = sources.fetch(ipfs_hash, whole, max_bytes=max_bytes, timeout=timeout)
        _check(whole, sha256, f"IPFS {ipfs_hash}")
        whole.replace(path)
    finally:
        whole.unlink(missing_ok=True)
    return source


def _check(path: Path, sha256: bytes, source: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").digest()
    if found != sha256:
        raise Rejected(
            f"model from {source}: expected SHA-256 0x{sha256.hex()}, got 0x{found.hex()} ({path.stat().st_size} bytes)"
        )


def _both(first: Exception | None, second: Exception) -> str:
    return str(second) if first is None else f"{first}; {second}"
