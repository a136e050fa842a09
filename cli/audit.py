"""`flfleet audit`: the data-protection officer's log, printed and checked."""

import json
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from rich.markup import escape

from cli.console import ERR, OUT
from pipeline.errors import Corrupt
from pipeline.settings import load
from pipeline.stores.fleet.audit import Entry
from pipeline.stores.fleet.ledger import RunLedger


def show_log(home: Path, *, last: int | None, task: str | None, dataset: str | None, as_json: bool) -> None:
    """Prints entries, JSON lines or a line each for people."""
    book = RunLedger.open(load(home))
    chosen: Iterator[Entry] = (entry for entry in book.audit_entries() if _fits(entry, task, dataset))
    for entry in chosen if last is None else deque(chosen, maxlen=last):
        OUT.print(entry.as_json_line() if as_json else _words(entry), soft_wrap=True, markup=not as_json)
    book.close()


def check_log(home: Path, known: str | None, *, as_json: bool) -> bool:
    """Walks the chain and says whether it holds; prints its last hash, to be noted down outside."""
    book = RunLedger.open(load(home))
    try:
        last = book.check_audit(known)
    except Corrupt as error:
        if as_json:
            OUT.print(json.dumps({"holds": False, "reason": str(error)}), soft_wrap=True)
        ERR.print(f"[red]broken:[/] {error}", soft_wrap=True)
        return False
    finally:
        book.close()
    count, head = (0, None) if last is None else (last.number, last.hash)
    if as_json:
        OUT.print(json.dumps({"holds": True, "entries": count, "head": head}), soft_wrap=True)
    else:
        OUT.print(f"{count} entries, unbroken. Last hash: {head}", soft_wrap=True)
        ERR.print("Note it down outside this machine; later: flfleet audit check --known HASH")
    return True


def _fits(entry: Entry, task: str | None, dataset: str | None) -> bool:
    members = entry.members
    return (task is None or members.get("task") == task) and (dataset is None or members.get("dataset") == dataset)


def _words(entry: Entry) -> str:
    members = {
        name: value for name, value in entry.members.items() if name not in ("number", "at", "event", "previous")
    }
    rest = " ".join(f"{name}={value}" for name, value in members.items() if value not in (None, ""))
    return f"{entry.number} {entry.members['at']} [bold]{escape(entry.members['event'])}[/] {escape(rest)}"
