"""Ports on loopback: free ones, and the complaint where a wanted one is taken."""

import socket

from pipeline.errors import Misconfigured


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def claim_port(port: int, option: str, host: str = "127.0.0.1") -> int:
    """`port`, or a free one where it is 0. Raises Misconfigured where another process has it."""
    if port == 0:
        return free_port()
    try:
        with socket.create_server((host, port)):
            return port
    except socket.gaierror:
        raise Misconfigured(f"{host!r} is no address of this machine") from None
    except OSError:
        raise Misconfigured(f"port {port} is in use; stop what uses it, or choose another one with {option}") from None
