"""Who gives a command: for the audit log and for whoever asks later."""

import os
import pwd
import socket


def who() -> str:
    """`user@host` of the process: by its user id, which no variable changes."""
    number = os.getuid()
    try:
        name = pwd.getpwuid(number).pw_name
    except KeyError:
        name = str(number)
    return f"{name}@{socket.gethostname()}"
