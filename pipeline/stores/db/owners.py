"""Who works on a run: host, boot, process. On one host a dead owner is known at once; from another one only its lease tells."""

import os
import socket
from functools import lru_cache
from pathlib import Path

import psutil

_PROC = Path("/proc")


def this_process() -> str:
    """The owner's text of this process: `host|boot|pid|start`."""
    return _this_process(os.getpid())


def working(pid: int) -> str | None:
    """The owner's text of another process of this host that runs; None where there is none, or where it is stopped."""
    state, start = _stat(pid)
    return None if not start or state in "Tt" else "|".join((_host(), _boot(), str(pid), start))


def is_gone(owner: str) -> bool:
    """Whether the owner is a process of this host that certainly runs no more (or ran before the last boot).

    Of other hosts nothing is certain: False.
    """
    host, boot, pid, start = owner.split("|")
    if host != _host():
        return False
    return boot != _boot() or _start(int(pid)) != start


@lru_cache(maxsize=1)
def _this_process(pid: int) -> str:  # the argument makes a forked child see its own
    return "|".join((_host(), _boot(), str(pid), _start(pid)))


@lru_cache(maxsize=1)
def _host() -> str:
    """Host name and namespace of process ids: containers of one name may number different processes alike."""
    try:
        namespace = os.readlink("/proc/self/ns/pid").removeprefix("pid:")
    except OSError:
        namespace = ""
    return socket.gethostname().replace("|", "") + namespace


@lru_cache(maxsize=1)
def _boot() -> str:
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return str(int(psutil.boot_time()))


def _start(pid: int) -> str:
    """When a process started, in the kernel's own count (no clock can move it); empty where none runs, or a zombie."""
    return _stat(pid)[1]


def _stat(pid: int) -> tuple[str, str]:
    """State letter and start of a process; both empty where none runs, or a zombie."""
    if not (_PROC / "self/stat").exists():
        return _stat_by_psutil(pid)
    try:
        # The name in parentheses may hold anything; state is the first field after it, the start time the twentieth.
        fields = (_PROC / f"{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return "", ""
    return ("", "") if fields[0] in "ZX" else (fields[0], fields[19])


def _stat_by_psutil(pid: int) -> tuple[str, str]:
    try:
        process = psutil.Process(pid)
        status, start = process.status(), f"{process.create_time():.2f}"
    except psutil.NoSuchProcess:
        return "", ""
    if status == psutil.STATUS_ZOMBIE:
        return "", ""
    return "T" if status == psutil.STATUS_STOPPED else "R", start
