"""Runs in a home's ledger, and the command over that home, in this process."""

from pathlib import Path

from click.testing import Result
from typer.testing import CliRunner

from cli.main import app
from pipeline.stores.fleet.ledger import RunLedger
from tests.signed_tasks import MINERS, make_task


def add(ledger: RunLedger, name: str, *, held: bool = False, **changes: object) -> str:
    """A run of the first miner of a task of that name; its id."""
    task = make_task(taskID=name, **changes)
    run_id = ledger.add_run(task, MINERS[0].address, "ward-7", max_submissions=9, held=held)
    assert run_id is not None
    return run_id


def flfleet(home: Path, *arguments: str, stdin: str | None = None) -> Result:
    """`flfleet ARGUMENTS --home HOME`."""
    return CliRunner().invoke(app, [*arguments, "--home", str(home)], input=stdin)
