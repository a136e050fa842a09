"""Removes from a store, and from the cache folder, what nothing names any more and what can be made again."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import Retryable
from pipeline.stores.artifacts import ArtifactStore
from pipeline.stores.retention import GRACE_SECONDS

#: One pruning removes so many artifacts at most; a store that has more takes several nights, and no worker for hours.
MAX_REMOVED = 10_000


@dataclass(frozen=True, kw_only=True)
class Removed:
    """What went, or would go in a dry run."""

    artifacts: int
    #: Scratch copies, interrupted downloads and prepared data sets.
    cached: int
    bytes: int


def prune(
    store: ArtifactStore,
    cache: Path,
    named: Callable[[], set[str]],
    *,
    now: float,
    cache_seconds: float,
    dry_run: bool = False,
) -> Removed:
    """Removes artifacts that `named` does not hold, and cached files that nobody has touched for `cache_seconds`.

    The store is listed before `named` is asked, and nothing younger than GRACE_SECONDS goes: what a stage has just
    written, but not yet named, stays. Raises Retryable where store, cache or ledger are away.
    """
    listed = [found for found in store.stored() if found.modified < now - GRACE_SECONDS]
    kept = named()
    artifacts = [found for found in listed if found.name not in kept][:MAX_REMOVED]
    cached = list(_stale(cache, now - max(cache_seconds, GRACE_SECONDS)))
    size = sum(found.bytes for found in artifacts) + sum(_size(path) for path in cached)
    if not dry_run:
        for found in artifacts:
            store.remove(found)
        for path in cached:
            _remove(path)
    return Removed(artifacts=len(artifacts), cached=len(cached), bytes=size)


def _stale(cache: Path, before: float) -> Iterator[Path]:
    """Entries of the folders that may be deleted at any time. Compiled kernels and tables are small, and stay."""
    for folder in (cache / "scratch", cache / "downloads", cache / "datasets"):
        try:
            entries = list(folder.iterdir())
        except FileNotFoundError:
            continue
        # A lock's file is the lock: removed under its holder, two would hold it.
        yield from (path for path in entries if path.suffix != ".lock" and _touched(path) < before)


def _touched(path: Path) -> float:
    """When it, or a file in it, was last written or read, in Unix seconds; where reads leave no mark, when it was written."""
    found = 0.0
    for each in (path, *(path.iterdir() if path.is_dir() else ())):
        try:
            status = each.stat()
        except FileNotFoundError:  # another process was faster
            continue
        found = max(found, status.st_mtime, status.st_atime if each.is_file() else 0.0)
    return found


def _size(path: Path) -> int:
    total = 0
    for folder, _, files in os.walk(path):
        total += sum((Path(folder) / name).stat().st_size for name in files)
    return total if path.is_dir() else path.stat().st_size


def _remove(path: Path) -> None:
    try:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise Retryable(f"cache folder: {error}") from error
