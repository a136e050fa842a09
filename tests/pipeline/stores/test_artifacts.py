import hashlib
import resource
from collections.abc import Iterator
from pathlib import Path

import boto3
import numpy as np
import pytest
import s3fs

from pipeline.errors import Corrupt, Retryable
from pipeline.stores.artifacts import ArtifactStore
from tests.buckets import bucket_url as bucket_url
from tests.buckets import s3_endpoint as s3_endpoint
from tests.federation import free_port


@pytest.fixture(params=["folder", "memory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    # fsspec's memory file system is the simplest one of which nothing is a local file.
    urls = {"folder": (tmp_path / "artifacts").as_uri(), "memory": f"memory://{tmp_path.name}"}
    url = request.getfixturevalue("bucket_url") if request.param == "s3" else urls[request.param]
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


@pytest.mark.parametrize("damage", [b"upd4te", b"upd", b""])
def test_a_damaged_object_is_found_at_every_read(bucket_url: str, tmp_path: Path, damage: bytes) -> None:
    store = ArtifactStore(bucket_url, tmp_path / "scratch")
    digest = store.put(b"update")
    bucket, _, folder = bucket_url.removeprefix("s3://").partition("/")
    boto3.client("s3").put_object(Bucket=bucket, Key=f"{folder}/{digest[:2]}/{digest}", Body=damage)
    with pytest.raises(Corrupt, match="damaged"):
        store.get(digest)
    with pytest.raises(Corrupt, match="damaged"):
        store.path(digest)
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_damaged_scratch_copy_is_fetched_once_more(bucket_url: str, tmp_path: Path) -> None:
    store = ArtifactStore(bucket_url, tmp_path / "scratch")
    digest = store.put(b"update")
    store.path(digest).write_bytes(b"upd4te")
    assert store.path(digest).read_bytes() == b"update"


def test_what_another_process_stores_is_seen(bucket_url: str, tmp_path: Path) -> None:
    store = ArtifactStore(bucket_url, tmp_path / "scratch")
    digest = hashlib.sha256(b"update").hexdigest()
    assert not store.exists(digest)
    bucket, _, folder = bucket_url.removeprefix("s3://").partition("/")
    boto3.client("s3").put_object(Bucket=bucket, Key=f"{folder}/{digest[:2]}/{digest}", Body=b"update")
    assert store.exists(digest)
    assert [found.name for found in store.stored()] == [digest]


def test_a_bucket_that_does_not_answer_is_retryable(
    bucket_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3fs.S3FileSystem.clear_instance_cache()
    store = ArtifactStore(bucket_url, tmp_path / "scratch")
    asked = (
        lambda: store.put(b"update"),
        lambda: store.get("0" * 64),
        lambda: store.path("0" * 64),
        lambda: store.exists("0" * 64),
        lambda: list(store.stored()),
    )
    for ask in asked:
        with pytest.raises(Retryable, match="artifact store"):
            ask()


def test_a_bucket_that_is_not_there_is_retryable_for_a_writer(bucket_url: str, tmp_path: Path) -> None:
    store = ArtifactStore("s3://no-such-bucket/fleet", tmp_path / "scratch")
    with pytest.raises(Retryable, match="artifact store"):
        store.put(b"update")
