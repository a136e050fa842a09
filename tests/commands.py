"""Starting `flfleet` as a process, and seeing what it leaves behind."""

import os
import subprocess
import sys
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]


def start(command: str, home: Path, *options: str) -> subprocess.Popen[str]:
    """`flfleet COMMAND --home HOME --json ...`, its output piped."""
    # A shell in the background has its children ignore Ctrl-C; these are to hear it, whoever started the tests.
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from cli.main import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, command, "--home", str(home), "--json", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def processes_of(home: Path) -> list[str]:
    """Command lines of every process that names the home, in its arguments or its environment."""
    found = []
    for process in psutil.process_iter():
        try:
            line = " ".join(process.cmdline())
            if process.pid != os.getpid() and (
                str(home) in line or str(home) in process.environ().get("FLFLEET_HOME", "")
            ):
                found.append(line)
        except psutil.Error:
            continue
    return found
