"""Keeping processes alive: a configuration for supervisor (supervisord.org), and talking to the daemon that runs it.

supervisord leaves orphans when it is killed itself, so each command runs behind `setpriv --pdeathsig TERM` where there is one.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import xmlrpc.client
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
from supervisor.xmlrpc import SupervisorTransport

from cli.programs import Program
from pipeline.errors import Misconfigured

#: A program that ends sooner has failed to start; five such starts in a row and it is left for a person (FATAL).
START_SECONDS = 5
START_RETRIES = 5
#: The kernel's limit for a Unix socket's path, with room.
_MAX_SOCKET_PATH = 100


class Supervisor:
    """One supervisord over the programs of a home folder."""

    def __init__(self, home: Path) -> None:
        self.home = home.absolute()
        self._run = self.home / "run"
        self._configuration = self._run / "supervisord.conf"
        self._pid_file = self._run / "supervisord.pid"

    def start(self, programs: Sequence[Program], *, tied: bool, own_settings: bool) -> subprocess.Popen[bytes]:
        """Starts the daemon in the background.

        `tied`: it and all its programs end when this process ends, however it ends. `own_settings`: the programs read their
        homes' fleet.toml alone, and not this process's FLFLEET_ variables.

        Raises Misconfigured where one is running over this home already.
        """
        if self.pid() is not None:
            raise Misconfigured(
                f"{self.home} is up already (process {self.pid()}); stop it with: flfleet down --home {self.home}"
            )
        self._write(programs)
        command = [sys.executable, "-m", "supervisor.supervisord", "-n", "-s", "-c", str(self._configuration)]
        environment = {
            name: value for name, value in os.environ.items() if not (own_settings and name.startswith("FLFLEET_"))
        }
        # A session of its own: Ctrl-C reaches this command alone, which then stops the rest in order.
        return subprocess.Popen(
            [*leash(), *command] if tied else command,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            cwd=self._run,
            env=environment,
        )

    def stop(self, timeout: float = 40.0) -> None:
        """Stops the daemon and every program of it, and waits; what is still there after `timeout` seconds is killed."""
        pid = self.pid()
        if pid is None:
            return
        try:
            family = psutil.Process(pid).children(recursive=True)
            os.kill(pid, signal.SIGTERM)
            psutil.wait_procs([psutil.Process(pid)], timeout=timeout)
        except (psutil.NoSuchProcess, ProcessLookupError):
            family = []
        _gone, alive = psutil.wait_procs([process for process in family if process.is_running()], timeout=5)
        for process in alive:
            process.kill()
        psutil.wait_procs(alive, timeout=5)

    def pid(self) -> int | None:
        """The daemon's process id, or None where it does not run."""
        try:
            pid = int(self._pid_file.read_text())
            process = psutil.Process(pid)
            return (
                pid
                if str(self._configuration) in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE
                else None
            )
        except (OSError, ValueError, psutil.Error):
            return None

    def states(self) -> dict[str, str]:
        """Program names to supervisor's states (RUNNING, STARTING, BACKOFF, FATAL ...); empty where it does not answer."""
        transport = SupervisorTransport(None, None, serverurl=f"unix://{self._socket()}")
        proxy: Any = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)
        try:
            return {info["name"]: info["statename"] for info in proxy.supervisor.getAllProcessInfo()}
        except (OSError, xmlrpc.client.Error):
            return {}
        finally:
            transport.close()

    def wait_until_running(self, timeout: float) -> dict[str, str]:
        """Waits until every program has left its start; returns the states."""
        end = time.monotonic() + timeout
        states = self.states()
        while time.monotonic() < end and (
            not states or any(state in ("STARTING", "STOPPED") for state in states.values())
        ):
            time.sleep(0.2)
            states = self.states()
        return states

    def log(self, program: str) -> Path:
        """Where a program's output goes."""
        return self.home / "logs" / f"{program}.log"

    def _socket(self) -> Path:
        path = self._run / "supervisor.sock"
        if len(str(path)) < _MAX_SOCKET_PATH:
            return path
        # The home's name may be longer than a socket's path may be.
        return Path(tempfile.gettempdir()) / f"flfleet-{os.getuid()}-{zlib.crc32(str(path).encode()):08x}.sock"

    def _write(self, programs: Sequence[Program]) -> None:
        for folder in (self._run, self.home / "logs"):
            folder.mkdir(parents=True, exist_ok=True)
        sections = [
            f"[unix_http_server]\nfile={_escaped(self._socket())}\nchmod=0700",
            "[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface",
            "[supervisord]\n"
            f"pidfile={_escaped(self._pid_file)}\nlogfile={_escaped(self.log('supervisord'))}\nchildlogdir={_escaped(self._run)}\n"
            "nodaemon=true\nminfds=1024\nnocleanup=true",
            *(self._section(program) for program in programs),
        ]
        handle = os.open(self._configuration, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write("\n\n".join(sections) + "\n")

    def _section(self, program: Program) -> str:
        command = " ".join(_quoted(part) for part in (*leash(), *program.command))
        own = {**program.environment, "FLFLEET_HOME": str(program.home)}
        environment = ",".join(f'{name}="{_escaped(value)}"' for name, value in sorted(own.items()))
        return (
            f"[program:{program.name}]\ncommand={command}\ndirectory={_escaped(self._run)}\nenvironment={environment}\n"
            f"priority={program.priority}\nautorestart=true\nstartsecs={START_SECONDS}\nstartretries={START_RETRIES}\n"
            f"stopwaitsecs={program.stop_seconds}\nstopasgroup=false\nkillasgroup=true\nredirect_stderr=true\n"
            f"stdout_logfile={_escaped(self.log(program.name))}\nstdout_logfile_maxbytes=20MB\nstdout_logfile_backups=3"
        )


def leash() -> tuple[str, ...]:
    """A prefix that ends a command when its parent dies, where the system has one."""
    setpriv = shutil.which("setpriv")
    return (setpriv, "--pdeathsig", "TERM", "--") if setpriv else ()


def _quoted(text: str) -> str:
    """One word of supervisor's shell-like command line."""
    return '"' + _escaped(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _escaped(text: Path | str) -> str:
    """supervisor expands %(...)s in every value."""
    return str(text).replace("%", "%%")
