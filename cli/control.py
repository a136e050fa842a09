"""`flfleet pause`, `resume`, `drain` and `leave`: what a person stops, in the ledger, for every host."""

import time
from datetime import UTC, datetime
from pathlib import Path

from rich.table import Table

from cli.console import ERR, OUT
from cli.person import who
from pipeline.errors import Misconfigured
from pipeline.settings import load
from pipeline.stores.fleet.base import PAYLOAD
from pipeline.stores.fleet.controls import EVERYTHING, Kind
from pipeline.stores.fleet.ledger import RunLedger
from pipeline.stores.fleet.records import OPEN, Run, Stage, State

_LOOK_SECONDS = 0.5


def target(pool: str | None, dataset: str | None, *, everything: bool) -> tuple[Kind, str]:
    """What a command means by its options. Raises Misconfigured unless it is exactly one thing that there is."""
    if sum((pool is not None, dataset is not None, everything)) != 1:
        raise Misconfigured("say what: a pool, or --dataset NAME, or --all; one of these")
    if everything:
        return Kind.FLEET, EVERYTHING
    if dataset is not None:
        return Kind.DATASET, dataset
    assert pool is not None
    if pool not in set(Stage):
        raise Misconfigured(f"no pool {pool!r}; there are: {', '.join(Stage)}")
    return Kind.POOL, pool


def pause(home: Path, kind: Kind, name: str, reason: str) -> None:
    """Nothing new begins there from now on; says which rounds may be missed."""
    book = RunLedger.open(load(home))
    try:
        fresh = book.stop(kind, name, by=who(), reason=reason)
        ERR.print(f"{_words(kind, name)} {'paused' if fresh else 'was paused already'}")
        _warn_of_deadlines(book, kind, name)
    finally:
        book.close()


def resume(home: Path, kind: Kind, name: str) -> None:
    """Lets it go on; the next sweep sends what waits on its way."""
    book = RunLedger.open(load(home))
    try:
        was = book.resume(kind, name, by=who())
        ERR.print(f"{_words(kind, name)} {'goes on; the next sweep sends what waits' if was else 'was not paused'}")
    finally:
        book.close()


def drain(home: Path, kind: Kind, name: str, reason: str, *, timeout: float | None) -> bool:
    """Pauses, and waits until nothing runs there any more. Returns whether it came to rest within `timeout` seconds."""
    pause(home, kind, name, reason)
    book = RunLedger.open(load(home))
    end = None if timeout is None else time.monotonic() + timeout
    try:
        while running := book.running_under(kind, name):
            if end is not None and time.monotonic() >= end:
                ERR.print(f"{running} still run; the pause stands")
                return False
            time.sleep(_LOOK_SECONDS)
    finally:
        book.close()
    ERR.print(f"{_words(kind, name)} is at rest; on again with: flfleet resume")
    return True


def show_stops(home: Path) -> None:
    """Prints what is stopped, by whom and why."""
    book = RunLedger.open(load(home))
    table = Table("what", "since", "by", "why", title="stopped on purpose")
    for one in book.stops():
        since = datetime.fromtimestamp(one.at, UTC).strftime("%Y-%m-%d %H:%M")
        table.add_row(_words(one.kind, one.name), since, one.by, one.reason)
    book.close()
    OUT.print(table)


def leave(home: Path, task_id: str, reason: str) -> tuple[list[Run], list[Run]]:
    """No more rounds of the task. Returns the runs given up, and those whose submission may be out already."""
    book = RunLedger.open(load(home))
    try:
        book.stop(Kind.TASK, task_id, by=who(), reason=reason)
        dropped, out = [], []
        for run in book.runs(states=(*OPEN, State.HELD), task_id=task_id):
            if PAYLOAD in run.notes:
                out.append(run)
            else:
                dropped.append(book.drop(run.run_id))
        book.cancel_retrainings(task_id=task_id)
        return dropped, out
    finally:
        book.close()


def come_back(home: Path, task_id: str) -> None:
    """Takes a `leave` back: later rounds are judged like any other's. Raises Misconfigured where there was none."""
    book = RunLedger.open(load(home))
    try:
        if not book.resume(Kind.TASK, task_id, by=who()):
            raise Misconfigured(f"{task_id} was not left; `flfleet pause` without a name lists what is stopped")
    finally:
        book.close()


def _words(kind: Kind, name: str) -> str:
    return {
        Kind.POOL: f"pool {name}",
        Kind.DATASET: f"data set {name}",
        Kind.FLEET: "the whole fleet",
        Kind.TASK: f"task {name}",
    }[kind]


def _warn_of_deadlines(book: RunLedger, kind: Kind, name: str) -> None:
    waiting = [run for run in book.runs(states=OPEN) if kind is not Kind.DATASET or run.dataset == name]
    if waiting:
        first = min(waiting, key=lambda run: run.deadline)
        when = datetime.fromtimestamp(first.deadline, UTC).strftime("%Y-%m-%d %H:%M UTC")
        ERR.print(
            f"{len(waiting)} runs are under way; the first round ({first.task_id}) closes at {when}, with you or without"
        )
