import resource
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import Corrupt, Retryable
from pipeline.stores.artifacts import ArtifactStore


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    # fsspec's memory file system stands for any remote one: nothing of it is a local file.
    url = (tmp_path / "artifacts").as_uri() if request.param == "folder" else f"memory://{tmp_path.name}"
    return ArtifactStore(url, tmp_path / "scratch")


def test_what_was_put_is_got_by_its_digest(store: ArtifactStore) -> None:
    digest = store.put(b"update", durable=True)
    assert store.get(digest) == b"update"
    assert store.exists(digest)


def test_the_same_bytes_have_one_digest(store: ArtifactStore, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"model")
    assert store.put_file(tmp_path / "file") == store.put(b"model")


def test_arrays_come_back_mapped_and_read_only(store: ArtifactStore) -> None:
    array = np.arange(6, dtype=np.int32).reshape(2, 3)
    back = store.get_array(store.put_array(array))
    assert back.dtype == np.int32
    assert np.array_equal(back, array)
    with pytest.raises(ValueError, match="read-only"):
        back[0, 0] = 1


def test_a_missing_artifact_is_corrupt_not_empty(store: ArtifactStore) -> None:
    with pytest.raises(Corrupt, match="missing"):
        store.get("0" * 64)
    with pytest.raises(Corrupt, match="missing"):
        store.path("0" * 64)


def test_a_deleted_artifact_is_gone_and_deleting_twice_is_no_error(store: ArtifactStore) -> None:
    digest = store.put(b"x")
    store.delete(digest)
    store.delete(digest)
    assert not store.exists(digest)


@pytest.mark.parametrize("damage", [b"upd4te", b"upd", b""])
def test_a_flipped_byte_or_a_cut_file_is_found_at_every_read(tmp_path: Path, damage: bytes) -> None:
    store = ArtifactStore((tmp_path / "artifacts").as_uri(), tmp_path / "scratch")
    digest = store.put(b"update")
    next((tmp_path / "artifacts").rglob(digest)).write_bytes(damage)
    with pytest.raises(Corrupt, match="damaged"):
        store.get(digest)
    with pytest.raises(Corrupt, match="damaged"):
        store.path(digest)


def test_bytes_that_are_no_array_are_corrupt(store: ArtifactStore) -> None:
    with pytest.raises(Corrupt, match="no array"):
        store.get_array(store.put(b"not numpy"))


def test_half_a_write_leaves_nothing_behind(tmp_path: Path) -> None:
    store = ArtifactStore((tmp_path / "artifacts").as_uri(), tmp_path / "scratch")
    with pytest.raises(IsADirectoryError):
        store.put_file(tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.fixture
def no_large_files() -> Iterator[None]:
    """From here on the kernel refuses every byte of a file beyond 64 KiB, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_takes_no_more_is_retryable_and_keeps_no_half(tmp_path: Path, no_large_files: None) -> None:
    store = ArtifactStore((tmp_path / "artifacts").as_uri(), tmp_path / "scratch")
    with pytest.raises(Retryable, match="too large"):
        store.put(bytes(100_000))
    with pytest.raises(Retryable, match=r"too large|requested and"):
        store.put_array(np.zeros(100_000))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_too_little_space_is_named_before_it_runs_out(tmp_path: Path) -> None:
    store = ArtifactStore((tmp_path / "artifacts").as_uri(), tmp_path / "scratch")
    store.require_space(1)
    with pytest.raises(Retryable, match="FLFLEET_MIN_FREE_BYTES"):
        store.require_space(2**62)


def test_a_store_lists_what_it_holds(store: ArtifactStore) -> None:
    assert list(store.stored()) == []
    digests = {store.put(b"one"), store.put(b"other")}
    found = list(store.stored())
    assert {entry.name for entry in found} == digests
    assert sorted(entry.bytes for entry in found) == [3, 5]
    for entry in found:
        store.remove(entry)
        store.remove(entry)
    assert list(store.stored()) == []
