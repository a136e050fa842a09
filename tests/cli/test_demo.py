import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

from cli.console import Exit
from tests.commands import processes_of, start

pytestmark = pytest.mark.services


def demo(home: Path, *options: str) -> subprocess.Popen[str]:
    return start("demo", home, *options)


@pytest.mark.timeout(300)
@pytest.mark.slow
def test_a_federation_of_real_processes_trains_encrypts_and_is_aggregated(tmp_path: Path) -> None:
    with demo(tmp_path, "--miners", "3", "--rounds", "2") as command:
        out, err = command.communicate(timeout=280)
    report = json.loads(out.splitlines()[-1]) if out else {}
    assert command.returncode == Exit.OK, err
    assert report["ok"] is True
    assert [entry["round"] for entry in report["rounds"]] == [1, 2]
    for entry in report["rounds"]:
        assert (entry["submissions"], entry["expected"], entry["dropped"]) == (3, 3, 0)
        assert entry["status"] in ("PUBLISHED", "BACK_TO_TRAINING")
        assert set(entry["seconds"]) == {"fetch", "data", "train", "compress", "commit", "encrypt", "submit"}
    first, second = (entry["coordinates"] for entry in report["rounds"])
    assert second < first
    assert processes_of(tmp_path) == []


@pytest.mark.timeout(120)
def test_ctrl_c_leaves_no_process(tmp_path: Path) -> None:
    with demo(tmp_path, "--miners", "3", "--rounds", "1") as command:
        end = time.monotonic() + 60
        while len(processes_of(tmp_path)) < 10 and time.monotonic() < end:
            time.sleep(0.2)
        command.send_signal(signal.SIGINT)
        command.communicate(timeout=50)
    assert command.returncode == Exit.INTERRUPTED
    assert processes_of(tmp_path) == []
