"""Where a main process's heartbeat lies: one file a role and host, so that hosts may share a home folder."""

import socket
import time
from pathlib import Path


def heartbeat_file(home: Path, role: str) -> Path:
    """`role`: `beat` or `worker-POOL`."""
    return home / "run" / "alive" / f"{role}@{socket.gethostname()}"


def heartbeat_age(path: Path) -> float | None:
    """Seconds since the last heartbeat; None where there never was one."""
    try:
        return max(time.time() - path.stat().st_mtime, 0.0)
    except OSError:
        return None


def heartbeats(home: Path) -> list[Path]:
    """The heartbeats of all roles on this host."""
    return sorted((home / "run" / "alive").glob(f"*@{socket.gethostname()}"))
