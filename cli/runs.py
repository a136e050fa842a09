"""`flfleet runs retry|drop` and `flfleet prune`: what a person does with runs that ended, and with the room that they take."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from cli.console import OUT
from pipeline.errors import Misconfigured
from pipeline.settings import Settings, load
from pipeline.stores.artifacts import ArtifactStore
from pipeline.stores.db.engine import open_database
from pipeline.stores.fleet.ledger import RunLedger
from pipeline.stores.fleet.records import Run, State


def retry_runs(home: Path, run_ids: Sequence[str], *, all_dead: bool) -> int:
    """Queues runs again; the next sweep sends them on their way. Returns how many. Raises Misconfigured."""
    return _each(home, run_ids, all_dead, RunLedger.retry, "queued again for")


def drop_runs(home: Path, run_ids: Sequence[str], *, all_dead: bool) -> int:
    """Gives runs up. Returns how many. Raises Misconfigured."""
    return _each(home, run_ids, all_dead, RunLedger.drop, "dropped in")


def prune_home(home: Path, *, days: float | None, dry_run: bool, as_json: bool) -> None:
    """Removes what the homes' roles need no more. Raises Misconfigured for roles without a store to prune, Retryable."""
    from pipeline.aggregation.aggregator.context import open_desk  # the curve, and only here
    from tasks.retention import prune_rounds, prune_runs

    settings = load(home)
    if "miner" in settings.roles:
        book = RunLedger(open_database(settings.ledger))
        store = ArtifactStore(settings.artifacts, settings.cache / "scratch")
        removed = prune_runs(book, store, settings, days=days, dry_run=dry_run)
        book.close()
    elif "aggregator" in settings.roles:
        its = open_desk(settings)
        removed = prune_rounds(its, settings, days=days, dry_run=dry_run)
        its.close()
    else:
        raise Misconfigured(f"a home with the roles {settings.roles} is not pruned: what it holds is served for ever")
    if as_json:
        OUT.print(json.dumps(asdict(removed) | {"dryRun": dry_run}), soft_wrap=True)
        return
    word = "would go" if dry_run else "removed"
    OUT.print(
        f"{removed.artifacts} artifacts and {removed.cached} cached files {word}, {removed.bytes / 2**20:.1f} MiB"
    )


def _each(home: Path, run_ids: Sequence[str], all_dead: bool, act: Callable[[RunLedger, str], Run], word: str) -> int:
    settings: Settings = load(home)
    if bool(run_ids) == all_dead:
        raise Misconfigured("name runs, or say --all-dead; `flfleet status --json` lists their runIDs")
    book = RunLedger.open(settings)
    chosen = [run.run_id for run in book.runs(states=(State.DEAD,))] if all_dead else _known(book, run_ids)
    for run_id in chosen:
        run = act(book, run_id)
        OUT.print(f"{run.run_id} {run.task_id} round {run.round} {run.miner_name}: {word} {run.stage}", soft_wrap=True)
    book.close()
    return len(chosen)


def _known(book: RunLedger, run_ids: Sequence[str]) -> list[str]:
    """All of them, or none is touched where one is unknown."""
    return [book.run(run_id).run_id for run_id in dict.fromkeys(run_ids)]
