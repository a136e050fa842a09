"""`flfleet verify`, `flfleet evidence show` and `flfleet rewards`: what anyone can check of an aggregator, and what it paid."""

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from rich.markup import escape
from rich.table import Table

from cli.console import ERR, OUT
from pipeline.aggregation.chain import Link, walk
from pipeline.aggregation.inspection import inspect
from pipeline.curve.select import kernel
from pipeline.errors import Misconfigured, Rejected
from pipeline.parties.blocks import fetch_task, fetch_votes
from pipeline.parties.http import fetch_bytes
from pipeline.parties.route import use
from pipeline.protocol.block import MAX_BLOCK_BYTES, Block
from pipeline.protocol.task import MAX_TASK_BYTES, Task
from pipeline.protocol.vote import check_majority
from pipeline.settings import Settings, load
from pipeline.stores.artifacts import ArtifactStore
from pipeline.stores.db.engine import open_database
from pipeline.stores.fleet.witness import Witnessed, WitnessLedger
from pipeline.stores.keys import identities

_MARK = "/aggregator/blocks/"


def verify_block(home: Path, url: str, *, as_json: bool) -> bool:
    """Runs every check on one block and prints what is wrong; True where it stands. Raises Rejected, Retryable, Misconfigured."""
    settings = load(home)
    use(settings)
    aggregator, mark, block_hash = url.rstrip("/").partition(_MARK)
    if not mark or not urlsplit(url).hostname:
        raise Misconfigured(f"{url}: expected the address of a block, http://host{_MARK}0x...")
    block = Block.decode(fetch_bytes(url, max_bytes=MAX_BLOCK_BYTES, timeout=settings.http_timeout_seconds))
    task = fetch_task(aggregator, block.fields.taskID, block.fields.round, settings.http_timeout_seconds)
    _check_publisher(task, settings)
    store = ArtifactStore(settings.artifacts, settings.cache / "scratch")
    found = inspect(
        task, block_hash, {}, store, settings, kernel(settings.curve_kernel, settings.cache), now=time.time()
    )
    reasons = list(found.reasons)
    try:
        check_majority(block, fetch_votes(task, block_hash, settings.http_timeout_seconds))
        votes = "published by its participants' votes"
    except Rejected as error:
        votes = f"not published: {error}"
    if as_json:
        document = {
            "blockHash": block_hash,
            "taskID": task.task_id,
            "round": task.round,
            "ok": not reasons,
            "reasons": reasons,
        }
        OUT.print(json.dumps(document | {"votes": votes}), soft_wrap=True)
    else:
        _say(f"block {block_hash} of round {task.round} of {task.task_id}, {votes}", reasons)
    return not reasons


def verify_chain(home: Path, task_id: str, *, as_json: bool) -> bool:
    """Walks from a task's last published block to the publisher's signed first task; True where every link holds."""
    settings = load(home)
    use(settings)
    url = f"{settings.backend_url.rstrip('/')}/tasks/{task_id}"
    newest = Task.decode(fetch_bytes(url, max_bytes=MAX_TASK_BYTES, timeout=settings.http_timeout_seconds))
    _check_publisher(newest, settings)
    links, reasons = walk(newest, settings.http_timeout_seconds)
    if as_json:
        entries = [{"round": link.round, "taskHash": link.task_hash, "blockHash": link.block_hash} for link in links]
        OUT.print(
            json.dumps({"taskID": task_id, "ok": not reasons, "reasons": list(reasons), "chain": entries}),
            soft_wrap=True,
        )
    else:
        OUT.print(_chain_table(links))
        _say(f"{len(links)} rounds of {task_id}, back to the first task", reasons)
    return not reasons


def show_evidence(home: Path, block_hash: str | None, *, as_json: bool) -> None:
    """Prints the blocks that this fleet found INVALID and why; with a hash, all of that one's evidence."""
    settings = load(home)
    use(settings)
    found = [one for one in WitnessLedger(open_database(settings.ledger)).blocks() if one.reasons]
    if block_hash is not None:
        found = [one for one in found if one.block_hash == block_hash]
        if not found:
            raise Misconfigured(f"no evidence against block {block_hash}; `flfleet evidence show` lists what there is")
    store = ArtifactStore(settings.artifacts, settings.cache / "scratch")
    if as_json or block_hash is not None:
        OUT.print(json.dumps([_evidence(one, store) for one in found]), soft_wrap=True)
        return
    table = Table("seen", "task", "round", "block", "what is wrong", "check it again")
    for one in found:
        seen = datetime.fromtimestamp(one.seen_at, UTC).strftime("%Y-%m-%d %H:%M:%S")
        reasons = escape("\n".join(one.reasons))
        table.add_row(seen, one.task_id, str(one.round), one.block_hash[:10], reasons, f"flfleet verify {one.url}")
    OUT.print(table if found else "no block was found INVALID")


def show_rewards(home: Path, *, as_json: bool) -> None:
    """Prints each identity's share of every settled round."""
    settings = load(home)
    use(settings)
    rewards = WitnessLedger(open_database(settings.ledger)).rewards()
    if as_json:
        entries = [
            {
                "taskID": one.task_id,
                "round": one.round,
                "miner": one.miner,
                "share": one.share,
                "totalUnits": one.total,
                "score": one.score,
                "blockHash": one.block_hash,
                "settledAt": one.settled_at,
            }
            for one in rewards
        ]
        OUT.print(json.dumps(entries), soft_wrap=True)
        return
    names = {one.address: one.name for one in identities(settings)}
    table = Table("task", "round", "miner", "score", "share")
    for one in rewards:
        score = "not revealed" if one.score is None else one.score
        share = f"{one.share / one.total:.4%}" if one.total else "-"
        table.add_row(one.task_id, str(one.round), names.get(one.miner, one.miner), score, share)
    OUT.print(table)


def _check_publisher(task: Task, settings: Settings) -> None:
    """A chain is worth what its publisher's signature is worth."""
    task.check_signature()
    if settings.trusted_publishers and task.publisher_address not in settings.trusted_publishers:
        raise Rejected(f"publisher {task.publisher_address} of {task.task_id} is not in FLFLEET_TRUSTED_PUBLISHERS")


def _evidence(one: Witnessed, store: ArtifactStore) -> dict[str, object]:
    stored: dict[str, object] = {} if one.evidence is None else json.loads(store.get(one.evidence))
    return {"blockHash": one.block_hash, "seenAt": one.seen_at, "evidence": one.evidence, **stored}


def _chain_table(links: Sequence[Link]) -> Table:
    table = Table("round", "task", "block", "parent", "model")
    for link in links:
        cells = (link.task_hash, link.block_hash or "-", link.parent_hash or "-", link.model_hash)
        table.add_row(str(link.round), *(cell[:12] for cell in cells))
    return table


def _say(what: str, reasons: Sequence[str]) -> None:
    if not reasons:
        ERR.print(f"[green]holds:[/] {escape(what)}", soft_wrap=True)
        return
    ERR.print(f"[red]does not hold:[/] {escape(what)}", soft_wrap=True)
    for reason in reasons:
        ERR.print(f"  {escape(reason)}", soft_wrap=True)
