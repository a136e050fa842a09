"""The systemd units: each starts a command that there is, and systemd itself finds nothing to complain of."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.main import get_command

from cli.main import app

UNITS = Path(__file__).parents[2] / "deploy" / "systemd"
SERVICES = sorted(UNITS.glob("*.service"))


@pytest.mark.parametrize("unit", SERVICES, ids=lambda path: path.name)
def test_a_unit_starts_a_command_that_there_is(unit: Path) -> None:
    found = re.search(r"^ExecStart=/opt/flfleet/bin/flfleet (\w+)", unit.read_text(), re.MULTILINE)
    assert found is not None
    assert found[1] in get_command(app).commands  # type: ignore[attr-defined]


@pytest.mark.parametrize("unit", SERVICES, ids=lambda path: path.name)
def test_a_unit_stops_softly_and_has_no_rights(unit: Path) -> None:
    lines = unit.read_text().splitlines()
    for wanted in (
        "KillMode=mixed",
        "NoNewPrivileges=yes",
        "CapabilityBoundingSet=",
        "ProtectSystem=strict",
        "User=flfleet",
    ):
        assert wanted in lines


def test_systemd_finds_nothing_to_complain_of(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not here")
    program = tmp_path / "flfleet"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for unit in (*SERVICES, UNITS / "flfleet.target"):
        text = unit.read_text().replace("/opt/flfleet/bin/flfleet", str(program))
        # A template is checked as one of its instances.
        (tmp_path / unit.name.replace("worker@.", "worker@train.").replace("party@.", "party@backend.")).write_text(
            text
        )
    units = sorted(str(path) for path in tmp_path.glob("*.*"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True, check=False
    )
    complaints = [line for line in done.stderr.splitlines() if str(tmp_path) in line or "flfleet" in line]
    assert done.returncode == 0, done.stderr
    assert complaints == []
