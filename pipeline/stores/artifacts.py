"""The artifact store: content-addressed bytes in a folder or a bucket (fsspec).

A message names an artifact by digest, never carries it (claim check). Written before the commit that names it; verified at
every read. In a local folder a durable write reaches the disk before `put` returns (fsspec never fsyncs).
"""

import hashlib
import io
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import fsspec
import numpy as np
from fsspec.implementations.local import LocalFileSystem
from numpy.typing import NDArray

from pipeline.errors import Corrupt, Retryable
from pipeline.protocol.file_bytes import FileBytes

_CHUNK = 1024 * 1024
_PARTIAL = ".partial-"
_OURS = re.compile(r"[0-9a-f]{64}|\.partial-.*")


@dataclass(frozen=True, kw_only=True)
class Stored:
    """Something in the store, as `stored` lists it."""

    #: Its digest, or the name of an interrupted write's file.
    name: str
    path: str
    bytes: int
    #: Unix seconds of the store's clock.
    modified: float


class ArtifactStore:
    """Bytes by SHA-256 digest (64 hex digits)."""

    def __init__(self, url: str, scratch: Path) -> None:
        """`url`: an fsspec URL. `scratch`: a local folder for memory-mapped copies of remote artifacts."""
        # Other processes write too: what a listing said a moment ago says nothing.
        self._fs, self._root = fsspec.core.url_to_fs(url, use_listings_cache=False)
        self._local = isinstance(self._fs, LocalFileSystem)
        self._away = _errors_of(self._fs.protocol)
        self._scratch = scratch
        # digest -> the file that was verified under it.
        self._known: dict[str, tuple[int, ...]] = {}

    def put(self, data: bytes, *, durable: bool = False) -> str:
        """Stores bytes and returns their digest. Raises Retryable when the disk is full or the store is away."""
        digest = hashlib.sha256(data).hexdigest()
        self._write(digest, io.BytesIO(data), durable)
        return digest

    def put_file(self, path: Path, *, durable: bool = False) -> str:
        """Stores a file's content, streamed, and returns its digest."""
        with path.open("rb") as source:
            digest = hashlib.file_digest(source, "sha256").hexdigest()
            source.seek(0)
            self._write(digest, source, durable)
        return digest

    def put_pieces(self, pieces: Iterable[bytes | memoryview], *, durable: bool = False) -> str:
        """Stores pieces joined, without holding them together in memory, and returns the digest of the whole."""
        self._scratch.mkdir(parents=True, exist_ok=True)
        try:
            with tempfile.NamedTemporaryFile(dir=self._scratch, suffix=".joined") as file:
                for piece in pieces:
                    file.write(piece)
                file.flush()
                return self.put_file(Path(file.name), durable=durable)
        except OSError as error:
            raise Retryable(f"artifact store: {error}") from error

    def put_array(self, array: NDArray[Any], *, durable: bool = False) -> str:
        """Stores an array in numpy's own format, without pickles. Raises Retryable."""
        with _mapped(self._away):
            self._scratch.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self._scratch, suffix=".npy") as file:
                np.save(file, array, allow_pickle=False)
                file.flush()
                return self.put_file(Path(file.name), durable=durable)

    @contextmanager
    def new_array(self, length: int, dtype: type[Any]) -> Iterator["NewArray"]:
        """An array in a file, to be filled and then stored; what is not stored is gone when the block ends. Raises Retryable."""
        self._scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self._scratch, suffix=".npy") as file:
            try:
                array: NDArray[Any]
                if length:
                    array = np.lib.format.open_memmap(file.name, mode="w+", dtype=dtype, shape=(length,))
                else:
                    array = np.zeros(0, dtype=dtype)
                    np.save(file, array, allow_pickle=False)
                    file.flush()
            except OSError as error:
                raise Retryable(f"artifact store: {error}") from error
            yield NewArray(self, Path(file.name), array)

    def get(self, digest: str) -> bytes:
        """The bytes of a digest. Raises Corrupt when they are missing or differ from it."""
        try:
            with _mapped(self._away), self._fs.open(self._path(digest), "rb") as source:
                data = bytes(source.read())
        except FileNotFoundError:
            raise Corrupt(f"artifact {digest} is missing") from None
        if hashlib.sha256(data).hexdigest() != digest:
            raise Corrupt(f"artifact {digest} is damaged")
        return data

    def path(self, digest: str) -> Path:
        """A local, verified file with the digest's bytes, for memory-mapping. Raises Corrupt."""
        if self._local:
            return _verified(Path(self._path(digest)), digest)
        local = self._scratch / digest
        if local.exists():
            try:
                return _verified(local, digest)
            except Corrupt:
                local.unlink(missing_ok=True)  # only the copy is damaged, perhaps: fetched once more
        partial = local.with_suffix(f".{os.getpid()}")
        try:
            with _mapped(self._away):
                self._scratch.mkdir(parents=True, exist_ok=True)
                self._fs.get_file(self._path(digest), str(partial))
                _verified(partial, digest)
                partial.replace(local)
        except FileNotFoundError:
            raise Corrupt(f"artifact {digest} is missing") from None
        finally:
            partial.unlink(missing_ok=True)
        return local

    def opened(self, digest: str) -> FileBytes:
        """The digest's bytes in a local file: what is not read takes no memory. Raises Corrupt.

        They are verified at a process's first use and again whenever the file is another one: a slice would otherwise read
        all of a round to work on a part of it.
        """
        path = Path(self._path(digest)) if self._local else self._scratch / digest
        try:
            if not (digest in self._known and path.exists() and _identity(path) == self._known[digest]):
                path = self.path(digest)
            identity, content = _identity(path), FileBytes.at(path)
        except OSError as error:
            raise Retryable(f"artifact store: {error}") from error
        self._known[digest] = identity
        return content

    @contextmanager
    def temporary(self) -> Iterator[IO[bytes]]:
        """A file that is gone when the block ends; a `FileBytes` of it may stay. Raises Retryable, for what its disk refuses too."""
        try:
            self._scratch.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self._scratch) as file:
                yield file
        except OSError as error:
            raise Retryable(f"{self._scratch}: {error}") from error

    def is_whole(self, digest: str) -> bool:
        """Whether the digest's bytes are there and are its own. Raises Retryable when the store is away."""
        try:
            self.path(digest)
        except Corrupt:
            return False
        return True

    def get_array(self, digest: str) -> NDArray[Any]:
        """The array of a digest, memory-mapped and read-only. Raises Corrupt."""
        try:
            array: NDArray[Any] = np.load(self.path(digest), mmap_mode="r", allow_pickle=False)
        except ValueError as error:
            raise Corrupt(f"artifact {digest} holds no array: {error}") from None
        return array

    def exists(self, digest: str) -> bool:
        """Whether something is stored under the digest; `get` says whether it is whole. Raises Retryable."""
        with _mapped(self._away):
            return bool(self._fs.exists(self._path(digest)))

    def delete(self, digest: str) -> None:
        """Removes an artifact; one that is not there is no error. Raises Retryable."""
        self._remove(self._path(digest))

    def remove(self, found: Stored) -> None:
        """Removes what `stored` listed. Raises Retryable."""
        self._remove(found.path)

    def stored(self) -> Iterator[Stored]:
        """Everything that is there, the files of interrupted writes too. Raises Retryable."""
        with _mapped(self._away):
            found: Mapping[str, Mapping[str, Any]] = self._fs.find(self._root, detail=True)
        for path, entry in found.items():
            name = path.rpartition("/")[2]
            if _OURS.fullmatch(name):
                yield Stored(name=name, path=path, bytes=int(entry["size"]), modified=_modified(entry))

    def require_space(self, free_bytes: int) -> None:
        """Raises Retryable where a local store, or the scratch folder, has less than `free_bytes` left."""
        for folder in (Path(self._root), self._scratch) if self._local else (self._scratch,):
            with _mapped(self._away):
                left = _free_bytes(folder)
            if left < free_bytes:
                raise Retryable(
                    f"{folder} has {left} bytes left, a stage starts with {free_bytes} at least "
                    "(FLFLEET_MIN_FREE_BYTES); `flfleet prune` frees what nothing needs"
                )

    def _remove(self, path: str) -> None:
        try:
            with _mapped(self._away):
                if self._fs.exists(path):
                    self._fs.rm_file(path)
        except FileNotFoundError:
            return  # another process was faster

    def _path(self, digest: str) -> str:
        return f"{self._root}/{digest[:2]}/{digest}"

    def _write(self, digest: str, source: IO[bytes], durable: bool) -> None:
        target = self._path(digest)
        try:
            with _mapped(self._away):
                if self._local:
                    _write_local(Path(target), source, durable)
                else:
                    with self._fs.open(target, "wb") as sink:
                        while chunk := source.read(_CHUNK):
                            sink.write(chunk)
        except FileNotFoundError as error:
            raise Retryable(f"artifact store: {error}") from error  # its bucket, or a folder that was moved away


@contextmanager
def _mapped(away: tuple[type[Exception], ...]) -> Iterator[None]:
    """Maps what says that a store is away, or full, to Retryable. A missing file is the caller's to judge."""
    try:
        yield
    except FileNotFoundError:
        raise
    except away as error:
        raise Retryable(f"artifact store: {error}") from error


def _errors_of(protocol: str | tuple[str, ...]) -> tuple[type[Exception], ...]:
    """What a store's library raises when it is away: OSError, and for S3 what s3fs lets through as it is."""
    if "s3" not in ((protocol,) if isinstance(protocol, str) else protocol):
        return (OSError,)
    from botocore.exceptions import BotoCoreError  # there where s3fs is

    return (OSError, BotoCoreError)


def _modified(entry: Mapping[str, Any]) -> float:
    """A listing's time in Unix seconds: file systems say it in seconds, S3 and fsspec's memory as a datetime."""
    found: Any = entry.get("mtime") or entry.get("LastModified") or entry.get("created")
    return float(found) if isinstance(found, (int, float)) else float(found.timestamp())


@dataclass(frozen=True)
class NewArray:
    """See `ArtifactStore.new_array`."""

    _store: ArtifactStore
    _path: Path
    #: To be filled.
    array: NDArray[Any]

    def store(self) -> str:
        """Stores the array as it is now and returns its digest."""
        if isinstance(self.array, np.memmap):
            self.array.flush()
        return self._store.put_file(self._path)


def _identity(path: Path) -> tuple[int, ...]:
    """What changes when a file is replaced or written to."""
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _verified(path: Path, digest: str) -> Path:
    """The path, if its bytes are the digest's. Raises Corrupt."""
    try:
        with path.open("rb") as source:
            found = hashlib.file_digest(source, "sha256").hexdigest()
    except FileNotFoundError:
        raise Corrupt(f"artifact {digest} is missing") from None
    except OSError as error:
        raise Retryable(f"artifact store: {error}") from error
    if found != digest:
        raise Corrupt(f"artifact {digest} is damaged")
    return path


def _free_bytes(folder: Path) -> int:
    """What is free where the folder lies, or will lie."""
    while True:
        try:
            found = os.statvfs(folder)
        except FileNotFoundError:
            folder = folder.parent
        else:
            return found.f_bavail * found.f_frsize


def _write_local(target: Path, source: IO[bytes], durable: bool) -> None:
    """Writes beside the target and renames, so that nobody sees half a file; fsyncs file and folder if asked."""
    folder = str(target.parent)
    try:
        handle, name = tempfile.mkstemp(dir=folder, prefix=_PARTIAL)
    except FileNotFoundError:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder, prefix=_PARTIAL)
        if durable:  # the new folder is an entry in another one
            _fsync_folder(target.parent.parent)
    try:
        with os.fdopen(handle, "wb") as sink:
            while chunk := source.read(_CHUNK):
                sink.write(chunk)
            sink.flush()
            if durable:
                os.fsync(sink.fileno())
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    if durable:
        _fsync_folder(target.parent)


def _fsync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
