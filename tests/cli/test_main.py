import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from typer.main import get_command
from typer.testing import CliRunner

from cli.console import Exit
from cli.main import app

ROOT = Path(__file__).parents[2]


def flfleet(*arguments: str) -> subprocess.CompletedProcess[str]:
    code = "from cli.main import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=ROOT, timeout=60, check=False
    )


def every_command(group: click.Command | None = None, path: str = "") -> Iterator[str]:
    """The paths of all commands and groups, read from the app itself."""
    for name, command in getattr(group or get_command(app), "commands", {}).items():
        yield f"{path}{name}"
        yield from every_command(command, f"{path}{name} ")


#: They have commands, and are none themselves.
GROUPS = {path for path in every_command() if any(other.startswith(f"{path} ") for other in every_command())}


def test_the_commands_that_the_documents_promise_are_there() -> None:
    promised = {
        "demo",
        "init",
        "up",
        "down",
        "localnet",
        "status",
        "doctor",
        "warmup",
        "verify",
        "chaos",
        "bench curve",
        "bench learning",
    }
    assert promised <= set(every_command())


@pytest.mark.parametrize("command", sorted(every_command()))
def test_every_command_has_help(command: str) -> None:
    result = CliRunner().invoke(app, [*command.split(), "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.output


@pytest.mark.parametrize("command", [path for path in sorted(every_command()) if path not in GROUPS])
def test_every_command_shows_an_example_of_itself(command: str) -> None:
    output = CliRunner().invoke(app, [*command.split(), "--help"]).output
    assert "Example:" in output
    example = " ".join(output.partition("Example:")[2].split())
    assert f"flfleet {command.removesuffix(' curve')}" in example


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_written_for_every_shell_and_completes(shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Else typer asks for the shell that started the tests, and under make that is none it knows.
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    script = CliRunner().invoke(app, ["--show-completion", shell], prog_name="flfleet")
    assert script.exit_code == 0
    assert "_FLFLEET_COMPLETE" in script.output
    # As the script asks: bash in words and a number, the others in one variable.
    words = {"COMP_WORDS": "flfleet run", "COMP_CWORD": "1", "_TYPER_COMPLETE_ARGS": "flfleet run"}
    asked = {"_FLFLEET_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_FISH_ACTION": "get-args", **words}
    found = CliRunner().invoke(app, [], prog_name="flfleet", env=asked)
    assert "runs" in found.output


def test_a_mistake_of_the_operator_is_one_sentence_and_an_exit_code(tmp_path: Path) -> None:
    result = flfleet("up", "--home", str(tmp_path / "nowhere"))
    assert result.returncode == Exit.MISCONFIGURED
    assert "flfleet init" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_setting_of_the_wrong_type_is_named(tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").write_text('lease_seconds = "soon"\n')
    result = flfleet("status", "--home", str(tmp_path))
    assert result.returncode == Exit.MISCONFIGURED
    assert "lease_seconds" in result.stderr


def test_keys_are_made_once_and_shown(tmp_path: Path) -> None:
    made = flfleet("keys", "new", "ward-7", "--home", str(tmp_path))
    assert made.returncode == Exit.OK
    again = flfleet("keys", "new", "ward-7", "--home", str(tmp_path))
    assert again.returncode == Exit.MISCONFIGURED
    (tmp_path / "fleet.toml").write_text('[[miner]]\nname = "ward-7"\nkey = "keys/ward-7.json"\ndata = "data"\n')
    named = json.loads(flfleet("keys", "new", "ward-8", "--json", "--home", str(tmp_path)).stdout)
    assert named["address"].startswith("0x")
    (shown,) = json.loads(flfleet("keys", "show", "--json", "--home", str(tmp_path)).stdout)
    assert shown["address"] == made.stdout.strip()
    assert "secret" not in json.dumps(shown)


def test_status_of_a_fresh_home_is_empty(tmp_path: Path) -> None:
    result = flfleet("status", "--json", "--home", str(tmp_path))
    assert json.loads(result.stdout) == {"runs": [], "refusals": []}


def test_scripts_can_read_what_init_down_and_runs_did(tmp_path: Path) -> None:
    home = ("--json", "--home", str(tmp_path / "home"))
    made = json.loads(flfleet("init", "--miner", "ward-7", *home).stdout)
    assert len(made["addresses"]) == 1
    assert json.loads(flfleet("runs", "retry", "--all-dead", *home).stdout) == {"runs": 0}
    assert json.loads(flfleet("runs", "drop", "--all-dead", *home).stdout) == {"runs": 0}
    assert json.loads(flfleet("down", *home).stdout)["stopped"] is False


def test_doctor_says_what_keeps_tasks_from_running(tmp_path: Path) -> None:
    flfleet("init", "--home", str(tmp_path), "--miner", "ward-7")
    result = flfleet("doctor", "--json", "--home", str(tmp_path))
    assert result.returncode == Exit.FAILED
    wrong = {
        finding["subject"]: finding["text"]
        for finding in json.loads(result.stdout)["findings"]
        if finding["verdict"] == "wrong"
    }
    assert {"trust", "broker", "backend", "data"} <= set(wrong)
    assert "known_miners is empty" in wrong["trust"]
    assert "holds no data set" in wrong["data"]
