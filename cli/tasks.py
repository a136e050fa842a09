"""`flfleet tasks`: what publishers ask of this fleet, in plain words, and a person's word on it."""

import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.table import Table

from cli.console import OUT
from cli.person import who
from pipeline.errors import Misconfigured
from pipeline.protocol.task import Task
from pipeline.settings import load
from pipeline.stores.fleet.approvals import Verdict
from pipeline.stores.fleet.ledger import RunLedger
from pipeline.stores.fleet.records import Run, State


def list_tasks(home: Path, *, as_json: bool) -> None:
    """Prints every task that this fleet has a run of, its newest round, and what was said about it."""
    book = RunLedger.open(load(home))
    newest: dict[str, list[Run]] = {}
    for run in book.runs():
        known = newest.setdefault(run.task_id, [])
        if known and known[0].round < run.round:
            known.clear()
        if not known or known[0].round == run.round:
            known.append(run)
    rows = [_row(book, runs) for _name, runs in sorted(newest.items())]
    book.close()
    if as_json:
        OUT.print(json.dumps(rows), soft_wrap=True)
        return
    table = Table("task", "round", "data set", "closes (UTC)", "runs", "a person's word")
    for row in rows:
        states = ", ".join(f"{count} {state}" for state, count in row["runs"].items())
        closes = datetime.fromtimestamp(row["deadline"], UTC).strftime("%m-%d %H:%M")
        word = "waits for you" if State.HELD in row["runs"] else (row["word"] or "-")
        table.add_row(row["taskID"], str(row["round"]), row["dataset"], closes, states, word)
    OUT.print(table)


def show_task(home: Path, task_id: str, *, as_json: bool) -> None:
    """Prints what a task asks, for a person who has to decide. Raises Misconfigured where there is no such task."""
    book = RunLedger.open(load(home))
    task = newest_task(book, task_id)
    given = book.approval(task)
    book.close()
    if as_json:
        OUT.print(json.dumps(task.document), soft_wrap=True)
        return
    training = task.training
    words: dict[str, object] = {
        "task": f"{task.task_id}, round {task.round} of at most {task.max_rounds}",
        "trains on": f"your data set {task.dataset!r}, which stays here",
        "training": f"{training.epochs} epochs, batches of {training.batch_size}, {training.optimizer} at {training.learning_rate}",
        "network": task.architecture.name if task.architecture else "as the model file says",
        "model": f"{task.dimension:,} values, SHA-256 0x{task.model_sha256.hex()}",
        "leaves": _leaves(task),
        "publisher": f"{task.publisher_address} at {task.publisher_url}",
        "aggregator": f"{task.aggregator_address} at {task.aggregator_url}",
        "with": f"{task.min_miners} to {task.max_miners} of the {len(task.roster)} miners in its roster",
        "closes": datetime.fromtimestamp(task.deadline, UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "task hash": task.task_hash,
        "your word": "none yet" if given is None else f"{given.verdict} by {given.by}",
    }
    table = Table(show_header=False, box=None)
    for name, text in words.items():
        table.add_row(name, str(text))
    OUT.print(table)


def decide(home: Path, task_id: str, verdict: Verdict, *, further: bool, reason: str) -> int:
    """Writes a person's word on the newest round down. Returns how many runs moved. Raises Misconfigured."""
    book = RunLedger.open(load(home))
    try:
        return book.decide(newest_task(book, task_id), verdict, by=who(), further=further, reason=reason)
    finally:
        book.close()


def newest_task(book: RunLedger, task_id: str) -> Task:
    """The task's newest round that this fleet has a run of. Raises Misconfigured."""
    runs = book.runs(task_id=task_id)
    if not runs:
        raise Misconfigured(
            f"no run of task {task_id}; `flfleet tasks list` shows the tasks, `flfleet status` the refused ones"
        )
    return book.task(max(runs, key=lambda run: run.round).task_hash)


def _row(book: RunLedger, runs: list[Run]) -> dict[str, Any]:
    task = book.task(runs[0].task_hash)
    given = book.approval(task)
    return {
        "taskID": task.task_id,
        "round": task.round,
        "dataset": task.dataset,
        "deadline": task.deadline,
        "taskHash": task.task_hash,
        "runs": dict(Counter(run.state.value for run in runs)),
        "word": None if given is None else f"{given.verdict} by {given.by}",
    }


def _leaves(task: Task) -> str:
    size = "all coordinates" if task.support is None else "the coordinates of a voted support"
    return (
        f"{size} of your update, each clipped to {task.quantization.clip} and rounded to 1/{task.quantization.scale}, "
        "encrypted; publisher and aggregator learn sums over all participants, and either alone nothing more"
    )
