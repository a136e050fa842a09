"""`flfleet status` and `flfleet keys show`: what the ledger and the keystores say, for people or as JSON."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from cli.console import OUT
from pipeline.protocol.encodings import public_key_text
from pipeline.settings import load
from pipeline.stores.db.engine import open_database
from pipeline.stores.fleet.ledger import Refusal, Run, RunLedger
from pipeline.stores.keys import identities

_COLOURS = {
    "accepted": "green",
    "running": "cyan",
    "waiting": "yellow",
    "rejected": "red",
    "dead": "red",
    "expired": "red",
}


def show_status(home: Path, *, as_json: bool) -> None:
    """Prints runs and refusals. Raises Misconfigured where the settings are wrong."""
    ledger = RunLedger(open_database(load(home).ledger))
    runs, refusals = ledger.runs(), ledger.refusals()
    if as_json:
        document = {"runs": [_run_json(run) for run in runs], "refusals": [_refusal_json(entry) for entry in refusals]}
        OUT.print(json.dumps(document), soft_wrap=True)
        return
    OUT.print(_runs_table(runs))
    if refusals:
        OUT.print(_refusals_table(refusals))


def show_keys(home: Path, *, as_json: bool) -> None:
    """Prints this fleet's identities. Raises Misconfigured."""
    found = identities(load(home))
    if as_json:
        entries = [
            {"name": one.name, "address": one.address, "publicKey": public_key_text(one.point33)} for one in found
        ]
        OUT.print(json.dumps(entries), soft_wrap=True)
        return
    table = Table("name", "address", "data folder")
    for one in found:
        table.add_row(one.name, one.address, str(one.data))
    OUT.print(table)


def _run_json(run: Run) -> dict[str, Any]:
    return {
        "runID": run.run_id,
        "taskID": run.task_id,
        "round": run.round,
        "miner": run.miner,
        "name": run.miner_name,
        "state": run.state,
        "stage": run.stage,
        "attempts": run.attempts,
        "error": run.error,
        "seconds": dict(run.seconds),
        "privacy": run.figures.get("privacy"),
        "updatedAt": run.updated_at,
    }


def _refusal_json(refusal: Refusal) -> dict[str, Any]:
    return {
        "taskID": refusal.task_id,
        "round": refusal.round,
        "miner": refusal.miner,
        "reasons": list(refusal.reasons),
    }


def _runs_table(runs: Sequence[Run]) -> Table:
    table = Table("task", "round", "miner", "state", "stage", "tries", "updated", "epsilon", "error", title="runs")
    for run in runs:
        colour = _COLOURS.get(run.state, "default")
        updated = datetime.fromtimestamp(run.updated_at, UTC).strftime("%m-%d %H:%M:%S")
        stage = run.stage or "-"
        state = f"[{colour}]{run.state}[/]"
        table.add_row(
            run.task_id,
            str(run.round),
            run.miner_name,
            state,
            stage,
            str(run.attempts),
            updated,
            _epsilon(run),
            escape(run.error or ""),
        )
    return table


def _epsilon(run: Run) -> str:
    """What the training spent of its samples' privacy; a dash where it promised none."""
    spent = run.figures.get("privacy")
    return f"{spent['epsilon']:.2f}" if spent else "-"


def _refusals_table(refusals: Sequence[Refusal]) -> Table:
    table = Table("task", "round", "miner", "why it does not run", title="refused")
    for refusal in refusals:
        table.add_row(refusal.task_id, str(refusal.round), refusal.miner, escape("\n".join(refusal.reasons)))
    return table
