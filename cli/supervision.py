"""Keeping processes alive: a configuration for supervisor (supervisord.org), and talking to the daemon that runs it.

supervisord leaves orphans when it is killed itself, so each command runs behind `setpriv --pdeathsig TERM` where there is one.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
import xmlrpc.client
import zlib
from collections.abc import Sequence
from configparser import RawConfigParser
from pathlib import Path
from typing import Any

import psutil
from supervisor.xmlrpc import SupervisorTransport

from cli.programs import Program
from pipeline.errors import Misconfigured

#: A program that ends sooner has failed to start; four such starts in a row and it is left for a person (FATAL).
START_SECONDS = 5
START_RETRIES = 3
#: The kernel's limit for a Unix socket's path, with room.
_MAX_SOCKET_PATH = 100


class Supervisor:
    """One supervisord over the programs of a home folder."""

    def __init__(self, home: Path) -> None:
        self.home = home.absolute()
        self._run = self.home / "run"
        self._configuration = self._run / "supervisord.conf"
        self._pid_file = self._run / "supervisord.pid"
        self._daemon: subprocess.Popen[bytes] | None = None

    def start(self, programs: Sequence[Program], *, tied: bool, own_settings: bool) -> None:
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
        # Its own words go to a file: a daemon that outlives this command must not hold the terminal, or a pipe, open.
        with (self.home / "logs" / "supervisord.out").open("ab") as words:
            self._daemon = subprocess.Popen(
                [*leash(), *command] if tied else command,
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=words,
                stderr=words,
                cwd=self._run,
                env=environment,
            )

    def wait(self) -> None:
        """Waits until the daemon that `start` started ends by itself."""
        if self._daemon is not None:
            self._daemon.wait()

    def stop(self, timeout: float = 40.0) -> None:
        """Stops the daemon and every program of it, and waits; what is still there after `timeout` seconds is killed."""
        pid = self.pid() or (self._daemon.pid if self._daemon else None)
        if pid is None:
            return
        try:
            daemon = psutil.Process(pid)
            family = [*daemon.children(recursive=True), daemon]
            daemon.terminate()
        except psutil.NoSuchProcess:
            family = []
        _gone, alive = psutil.wait_procs(family, timeout=timeout)
        for process in alive:
            process.kill()
        psutil.wait_procs(alive, timeout=5)
        self.wait()
        self._daemon = None

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
        return {info["name"]: info["statename"] for info in self._information()}

    def pids(self, *, settled: bool = False) -> dict[str, int]:
        """Names of the programs that run to their process ids; `settled`: without those that have only just started."""
        states = ("RUNNING",) if settled else ("RUNNING", "STARTING")
        return {
            info["name"]: info["pid"] for info in self._information() if info["statename"] in states and info["pid"]
        }

    def _information(self) -> list[dict[str, Any]]:
        """What the daemon says of every program; nothing where it does not answer."""
        transport = SupervisorTransport(None, None, serverurl=f"unix://{self._socket()}")
        proxy: Any = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)
        try:
            information: list[dict[str, Any]] = proxy.supervisor.getAllProcessInfo()
        except (OSError, xmlrpc.client.Error):
            return []
        finally:
            transport.close()
        return information

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
        names = [program.name for program in programs]
        if len(set(names)) != len(names):
            raise ValueError(f"two programs of one name: {sorted(names)}")
        for folder in (self._run, self.home / "logs", *(program.home / "run" for program in programs)):
            folder.mkdir(parents=True, exist_ok=True)
        configuration = RawConfigParser()
        configuration.read_dict(self._sections(programs))
        handle = os.open(self._configuration, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w") as file:
            configuration.write(file)

    def _sections(self, programs: Sequence[Program]) -> dict[str, dict[str, str]]:
        # Paths are relative to the daemon's folder: supervisor expands the % of some values twice.
        daemon = {
            "pidfile": self._pid_file.name,
            "logfile": "../logs/supervisord.log",
            "childlogdir": ".",
            "nodaemon": "true",
            "minfds": "1024",
            "nocleanup": "true",
        }
        interface = {"supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"}
        return {
            "unix_http_server": {"file": _escaped(self._socket()), "chmod": "0700"},
            "rpcinterface:supervisor": interface,
            "supervisord": daemon,
            **{f"program:{program.name}": self._program(program) for program in programs},
            **_groups(programs),
        }

    def _program(self, program: Program) -> dict[str, str]:
        own = {**program.environment, "FLFLEET_HOME": str(program.home)}
        return {
            "command": " ".join(_quoted(part) for part in (*leash(), *program.command)),
            "environment": ",".join(f'{name}="{_escaped(value)}"' for name, value in sorted(own.items())),
            "priority": str(program.priority),
            "autorestart": "true",
            "startsecs": str(START_SECONDS),
            "startretries": str(START_RETRIES),
            "stopwaitsecs": str(program.stop_seconds),
            # What a program leaves behind when it has to be killed goes with it.
            "killasgroup": "true",
            "redirect_stderr": "true",
            "stdout_logfile": f"../logs/{program.name}.log",
            "stdout_logfile_maxbytes": str(program.log_max_bytes),
            "stdout_logfile_backups": str(program.log_backups),
        }


def _groups(programs: Sequence[Program]) -> dict[str, dict[str, str]]:
    """One group a priority: supervisor stops group after group, but the programs of a group together."""
    priorities = sorted({program.priority for program in programs})
    return {
        f"group:priority-{priority}": {
            "programs": ",".join(program.name for program in programs if program.priority == priority),
            "priority": str(priority),
        }
        for priority in priorities
    }


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
