import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cli.programs import Program
from cli.supervision import Supervisor
from pipeline.errors import Misconfigured

pytestmark = pytest.mark.services
SLEEPER = (sys.executable, "-c", "import time; time.sleep(600)")


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    # A space and a per cent sign in the folder's name: both mean something to supervisor.
    supervisor = Supervisor(tmp_path / "home of 100%")
    yield supervisor
    supervisor.stop()


def start(supervisor: Supervisor, *programs: Program) -> None:
    supervisor.start(programs, tied=True, own_settings=True)


def wait_for(condition: object, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if callable(condition) and condition():
            return
        time.sleep(0.1)
    pytest.fail("it did not come true in time")


def children(supervisor: Supervisor) -> list[psutil.Process]:
    pid = supervisor.pid()
    return psutil.Process(pid).children(recursive=True) if pid else []


def test_a_program_reads_its_own_home_and_not_the_settings_of_the_command(
    supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLFLEET_BACKEND_URL", "http://of.the.command")
    script = "import os, time; print(sorted(n + '=' + v for n, v in os.environ.items() if 'FLFLEET' in n), flush=True); time.sleep(99)"
    home = tmp_path / "100% 'its' own"
    program = Program(name="show", command=(sys.executable, "-c", script), home=home, environment={"FLFLEET_POOL": "a"})
    start(supervisor, program)
    wait_for(lambda: supervisor.log("show").exists() and supervisor.log("show").read_text())
    assert supervisor.log("show").read_text().strip() == str([f"FLFLEET_HOME={home}", "FLFLEET_POOL=a"])


def test_a_program_that_is_killed_is_started_again(supervisor: Supervisor, tmp_path: Path) -> None:
    start(supervisor, Program(name="sleeper", command=SLEEPER, home=tmp_path))
    wait_for(lambda: supervisor.wait_until_running(20) == {"sleeper": "RUNNING"})
    (first,) = children(supervisor)
    first.kill()
    wait_for(lambda: [child.pid for child in children(supervisor)] not in ([], [first.pid]))


def test_a_program_that_always_fails_is_given_up(supervisor: Supervisor, tmp_path: Path) -> None:
    start(supervisor, Program(name="broken", command=(sys.executable, "-c", "raise SystemExit(3)"), home=tmp_path))
    wait_for(lambda: supervisor.states() == {"broken": "FATAL"}, seconds=40)


def test_stop_leaves_no_process(supervisor: Supervisor, tmp_path: Path) -> None:
    start(supervisor, *(Program(name=f"sleeper-{number}", command=SLEEPER, home=tmp_path) for number in range(3)))
    wait_for(lambda: len(children(supervisor)) == 3)
    family = children(supervisor)
    supervisor.stop()
    assert supervisor.pid() is None
    assert not [process for process in family if process.is_running()]


def test_a_second_supervisor_over_a_home_is_refused(supervisor: Supervisor, tmp_path: Path) -> None:
    start(supervisor, Program(name="sleeper", command=SLEEPER, home=tmp_path))
    wait_for(lambda: bool(supervisor.states()))
    with pytest.raises(Misconfigured, match="up already"):
        start(supervisor, Program(name="sleeper", command=SLEEPER, home=tmp_path))


def test_everything_ends_when_the_command_is_killed(tmp_path: Path) -> None:
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom cli.programs import Program\nfrom cli.supervision import Supervisor\n"
        "home = Path(sys.argv[1])\nsleeper = (sys.executable, '-c', 'import time; time.sleep(600)')\n"
        "Supervisor(home).start([Program(name='sleeper', command=sleeper, home=home)], tied=True, own_settings=True)\n"
        "time.sleep(600)\n"
    )
    command = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], cwd=Path(__file__).parents[2])
    supervisor = Supervisor(tmp_path)
    try:
        wait_for(lambda: bool(children(supervisor)))
        family = children(supervisor)
        os.kill(command.pid, signal.SIGKILL)
        wait_for(lambda: not any(process.is_running() for process in family))
    finally:
        command.kill()
        command.wait()
        supervisor.stop()
