"""What `flfleet doctor` looks at beside the settings: the clock, files' permissions, the store, Flower, what people stopped."""

import secrets
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from cli.finding import Finding
from pipeline.errors import FleetError
from pipeline.parties.http import server_time
from pipeline.settings import Settings
from pipeline.stores.artifacts import ArtifactStore
from pipeline.stores.fleet.ledger import RunLedger

#: Deadlines are the publisher's Unix seconds: a clock that is so far off closes rounds too early, or too late.
MOST_SKEW_SECONDS = 30.0
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def clock(settings: Settings) -> Iterator[Finding]:
    """This host's clock beside the backend's Date header."""
    begun = time.time()
    there = server_time(f"{settings.backend_url.rstrip('/')}/tasks/open", timeout=5.0)
    if there is None:
        yield Finding(subject="clock", verdict="ok", text="the backend names no time to compare with")
        return
    # The header has whole seconds, and was written while we waited.
    skew = (begun + time.time()) / 2 - (there + 0.5)
    if abs(skew) > MOST_SKEW_SECONDS:
        word = "ahead of" if skew > 0 else "behind"
        text = (
            f"this host is {abs(skew):.0f} s {word} the backend: rounds close by their clock; set up NTP (timedatectl)"
        )
        yield Finding(subject="clock", verdict="warning", text=text)
    else:
        yield Finding(subject="clock", verdict="ok", text=f"within {MOST_SKEW_SECONDS:.0f} s of the backend's")


def permissions(settings: Settings) -> Iterator[Finding]:
    """Secrets that others on this host may read."""
    looked = 0
    for path in _secret_files(settings):
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except OSError:
            continue  # that it is missing, or not ours to read, is said elsewhere
        looked += 1
        if mode & 0o077:
            text = f"{path} may be read by others on this host ({mode:04o}): chmod 600 {path}"
            yield Finding(subject="permissions", verdict="wrong", text=text)
    yield Finding(subject="permissions", verdict="ok", text=f"{looked} files with secrets looked at")


def store(settings: Settings) -> Iterator[Finding]:
    """Whether this host can write to the artifact store and read it back."""
    artifacts = ArtifactStore(settings.artifacts, settings.cache / "scratch")
    probe = b"flfleet doctor " + secrets.token_bytes(16)
    digest = artifacts.put(probe)
    whole = artifacts.get(digest) == probe
    artifacts.delete(digest)
    text = f"{settings.artifacts} takes what this host writes and gives it back"
    yield Finding(
        subject="artifacts", verdict="ok" if whole else "wrong", text=text if whole else "other bytes came back"
    )
    try:
        artifacts.require_space(settings.min_free_bytes)
    except FleetError as error:
        yield Finding(subject="artifacts", verdict="wrong", text=str(error))


def flower(_settings: Settings) -> Iterator[Finding]:
    """Flower processes of this host that answer more than this host, without a password."""
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        if "flower" not in words or not any("celery" in word for word in words):
            continue
        address = next((word.partition("=")[2] for word in words if word.startswith("--address=")), "")
        guarded = any(word.startswith(("--basic_auth", "--basic-auth", "--auth")) for word in words)
        if address in _LOOPBACK:
            yield Finding(subject="flower", verdict="ok", text=f"process {process.pid} listens on {address} alone")
        elif guarded:
            text = (
                f"process {process.pid} has a password, but /metrics and /healthcheck stay open: bind it to 127.0.0.1"
            )
            yield Finding(subject="flower", verdict="warning", text=text)
        else:
            text = f"process {process.pid} answers everyone who reaches this host: start it with --address=127.0.0.1"
            yield Finding(subject="flower", verdict="wrong", text=text)


def people(settings: Settings) -> Iterator[Finding]:
    """What a person stopped, and what waits for one."""
    book = RunLedger.open(settings)
    try:
        for one in book.stops():
            text = f"{one.kind} {one.name} was stopped by {one.by}" + (f": {one.reason}" if one.reason else "")
            yield Finding(subject="stopped", verdict="warning", text=text)
        if waiting := len(book.held_tasks()):
            text = f"{waiting} tasks wait for a person's word: flfleet tasks list"
            yield Finding(subject="approval", verdict="warning", text=text)
    finally:
        book.close()


def budget(settings: Settings) -> Iterator[Finding]:
    """Data sets whose privacy budget is spent."""
    book = RunLedger.open(settings)
    try:
        for one in book.spent():
            if (reason := book.exhausted(one.miner, one.dataset)) is not None:
                yield Finding(subject="privacy", verdict="warning", text=f"{one.miner_name}: {reason}")
    finally:
        book.close()


def _secret_files(settings: Settings) -> Iterator[Path]:
    for miner in settings.miner:
        key = settings.path(miner.key)
        yield key
        yield settings.path(miner.password_file) if miner.password_file else key.with_suffix(".password")
    if settings.party_key is not None:
        key = settings.path(settings.party_key)
        yield from (key, key.with_suffix(".password"))
    if settings.broker_certificate is not None:
        yield settings.path(settings.broker_certificate)
    yield settings.path("broker/url")
