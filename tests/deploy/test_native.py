"""compose.yaml run without a container engine: every service, and two federated rounds over them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.native import LEFT_OUT, NAMESPACES
from tests.commands import ROOT

pytestmark = [pytest.mark.services, pytest.mark.namespaces, pytest.mark.deploy, pytest.mark.slow]


def missing() -> str | None:
    if os.geteuid() != 0:
        return "namespaces and users need root"
    if subprocess.run([*NAMESPACES, "true"], capture_output=True, check=False).returncode != 0:
        return "namespaces cannot be made here"
    if shutil.which("redis-server") is None or not list(Path("/usr/lib/postgresql").glob("*/bin")):
        return "redis-server and postgresql are not installed"
    return None


@pytest.mark.timeout(900)
def test_the_fleet_of_compose_yaml_runs_two_rounds_and_stops_in_time() -> None:
    reason = missing()
    if reason is not None:
        assert "CI" not in os.environ, reason
        pytest.skip(reason)
    done = subprocess.run(
        [sys.executable, "-m", "deploy.native", "--rounds", "2", "--json"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    report = json.loads(done.stdout.splitlines()[-1]) if done.stdout else {}
    assert done.returncode == 0, (report, done.stderr[-3000:])
    assert report["problems"] == []
    assert report["left_out"] == list(LEFT_OUT)
    assert [one["submissions"] for one in report["rounds"]] == [5, 5]
    # All but the two that do one thing and end.
    assert report["healthy"] == report["processes"] - 2
