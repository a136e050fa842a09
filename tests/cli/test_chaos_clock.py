import subprocess
import sys
import time
from pathlib import Path

from cli.chaos_clock import moved

ROOT = Path(__file__).parents[2]


def test_a_moved_clock_follows_its_file(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("cli.chaos_clock._READ_EVERY_SECONDS", 0.0)
    file = tmp_path / "clock"
    now = moved(file, lambda: 1000.0)
    assert now() == 1000.0
    file.write_text("-180")
    assert now() == 820.0
    file.write_text("half a num")
    assert now() == 820.0


def test_it_is_celery_with_another_time(tmp_path: Path) -> None:
    file = tmp_path / "clock"
    file.write_text("600")
    script = (
        "import sys, time, runpy; sys.argv = ['x', sys.argv[1], '--version']\n"
        "before = time.time()\n"
        "try:\n    runpy.run_module('cli.chaos_clock', run_name='__main__')\n"
        "except SystemExit:\n    pass\n"
        "print(round(time.time() - before, -1))"
    )
    command = [sys.executable, "-c", script, str(file)]
    out = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, check=True).stdout.split("\n")
    assert out[0][0].isdigit()
    assert out[1] == "600.0"
    assert time.time() < 4e9
