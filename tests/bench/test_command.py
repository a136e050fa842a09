"""`flfleet bench curve --json`, as a process: its last line is one JSON object, and what it leaves out it names."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.commands import ROOT

#: As the command runs, on few coordinates.
SMALL = """
import sys
from bench import curve, top
measured, top.N, curve.CURVE = curve.measured, 1_000_000, (1_000, 2_000)
curve.measured = lambda n, **options: measured(n // 20, **options)
sys.argv[0] = "flfleet"
from cli.main import main
main()
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> subprocess.CompletedProcess[str]:
    home: Path = tmp_path_factory.mktemp("home")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FLFLEET_")}
    environment |= {"PYTHONPATH": str(ROOT), "FLFLEET_CACHE_DIR": str(request.config.cache.mkdir("curve"))}
    command = ["bench", "curve", "--quick", "--json", "--home", str(home)]
    return subprocess.run(
        [sys.executable, "-c", SMALL, *command],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
        check=True,
    )


def test_the_last_line_is_one_json_object_of_the_promised_form(ran: subprocess.CompletedProcess[str]) -> None:
    lines = ran.stdout.splitlines()
    found = json.loads(lines[-1])
    assert lines == lines[-1:]
    assert set(found) == {"machine", "kernel", "rows"}
    for row in found["rows"]:
        assert set(row) >= {"name", "n", "nsPerItem", "itemsPerSecond", "vs", "limit"}
        assert all(isinstance(times, float) for times in row["vs"].values())


def test_rivals_that_are_not_installed_are_skipped_by_name(ran: subprocess.CompletedProcess[str]) -> None:
    is_there = find_spec("tenseal") is not None
    compared = [row for row in json.loads(ran.stdout)["rows"] if "tenseal" in row["vs"]]
    assert bool(compared) == is_there
    assert ("skipped: tenseal" in ran.stderr) != is_there
