import os
import time
from pathlib import Path

import pytest

from pipeline.stores.artifacts import ArtifactStore
from pipeline.stores.pruning import Removed, prune

NOW = time.time()


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore((tmp_path / "artifacts").as_uri(), tmp_path / "cache/scratch")


def age(path: Path, days: float) -> None:
    os.utime(path, (NOW - days * 86400,) * 2)


def old(store: ArtifactStore, data: bytes) -> str:
    digest = store.put(data)
    age(store.path(digest), 2)
    return digest


def test_what_is_named_stays_and_the_rest_goes(store, tmp_path):
    kept, gone = old(store, b"kept"), old(store, b"gone!")
    assert prune(store, tmp_path / "cache", lambda: {kept}, now=NOW, cache_seconds=0) == Removed(
        artifacts=1, cached=0, bytes=5
    )
    assert store.get(kept) == b"kept"
    assert not store.exists(gone)


def test_a_dry_run_removes_nothing(store, tmp_path):
    digest = old(store, b"x")
    assert prune(store, tmp_path / "cache", set, now=NOW, cache_seconds=0, dry_run=True).artifacts == 1
    assert store.exists(digest)


def test_what_a_stage_has_just_written_stays_until_it_is_named(store, tmp_path):
    digest = store.put(b"young")
    prune(store, tmp_path / "cache", set, now=NOW, cache_seconds=0)
    assert store.exists(digest)


def test_names_are_asked_for_after_the_store_was_listed(store, tmp_path):
    listed = old(store, b"listed")

    def named() -> set[str]:
        old(store, b"written meanwhile")
        return {listed}

    assert prune(store, tmp_path / "cache", named, now=NOW, cache_seconds=0).artifacts == 0


def test_an_interrupted_write_goes_and_foreign_files_stay(store, tmp_path):
    folder = store.path(store.put(b"x")).parent
    for name in (".partial-abc", "README"):
        (folder / name).write_bytes(b"half")
        age(folder / name, 2)
    prune(store, tmp_path / "cache", set, now=NOW, cache_seconds=0)
    assert not (folder / ".partial-abc").exists()
    assert (folder / "README").exists()


def test_stale_copies_and_data_sets_go_but_locks_and_kernels_stay(store, tmp_path):
    cache = tmp_path / "cache"
    for name in ("scratch/copy", "datasets/set/x.npy", "downloads/m.lock", "downloads/m.partial", "kernels/k"):
        path = cache / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"1234")
        age(path, 9)
        age(path.parent, 9)
    fresh = cache / "scratch/fresh"
    fresh.write_bytes(b"")
    removed = prune(store, cache, set, now=NOW, cache_seconds=7 * 86400)
    assert removed == Removed(artifacts=0, cached=3, bytes=12)
    assert sorted(str(path.relative_to(cache)) for path in cache.rglob("*") if path.is_file()) == [
        "downloads/m.lock",
        "kernels/k",
        "scratch/fresh",
    ]


def test_a_store_that_does_not_exist_yet_is_empty(tmp_path):
    store = ArtifactStore((tmp_path / "none").as_uri(), tmp_path / "scratch")
    assert prune(store, tmp_path / "cache", set, now=NOW, cache_seconds=0) == Removed(artifacts=0, cached=0, bytes=0)
