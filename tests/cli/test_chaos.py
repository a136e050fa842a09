"""A short chaos, whole: real processes, real faults, and everything counted."""

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

from cli.chaos_schedule import Kind, schedule
from cli.console import Exit
from tests.commands import processes_of, start

pytestmark = [pytest.mark.services, pytest.mark.slow]


def chaos(home: Path, *options: str) -> subprocess.Popen[str]:
    return start("chaos", home, *options)


def mounts_in(home: Path) -> list[str]:
    return [line for line in Path("/proc/mounts").read_text().splitlines() if str(home) in line]


@pytest.mark.timeout(420)
def test_nothing_is_lost_or_doubled_or_stuck(tmp_path: Path) -> None:
    with chaos(tmp_path, "--runs", "30", "--seconds", "30", "--seed", "11") as command:
        out, err = command.communicate(timeout=400)
    assert command.returncode == Exit.OK, err
    report = json.loads(out.splitlines()[-1])
    assert (report["runs"], report["accepted"]) == (30, 30)
    assert [report[name] for name in ("lost", "duplicates", "stuck", "openingsLost")] == [0, 0, 0, 0]
    planned = {fault.kind.value for fault in schedule(11, 30)}
    assert set(report["faults"]) <= planned
    # Where nothing was at work to be hit a fault is left out, but not most of them.
    assert len(report["faults"]) > len(planned) / 2
    assert report["faults"][Kind.ALL_WORKERS]["n"] == 1
    assert processes_of(tmp_path) == []
    assert mounts_in(tmp_path) == []


@pytest.mark.timeout(120)
def test_ctrl_c_leaves_neither_process_nor_mount(tmp_path: Path) -> None:
    with chaos(tmp_path, "--runs", "5", "--seconds", "30") as command:
        end = time.monotonic() + 60
        while len(processes_of(tmp_path)) < 12 and time.monotonic() < end:
            time.sleep(0.2)
        command.send_signal(signal.SIGINT)
        command.communicate(timeout=60)
    assert command.returncode == Exit.INTERRUPTED
    assert processes_of(tmp_path) == []
    assert mounts_in(tmp_path) == []
