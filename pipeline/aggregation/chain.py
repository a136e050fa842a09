"""The ledger of rounds, walked from a task's newest round to its first: each block names its parent (docs/protocol.md, section 8)."""

from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.errors import Rejected
from pipeline.parties.blocks import fetch_block, fetch_state, fetch_task, fetch_votes
from pipeline.parties.http import RefusedByParty
from pipeline.protocol.block import Block
from pipeline.protocol.encodings import to_hex
from pipeline.protocol.task import Task
from pipeline.protocol.vote import check_majority


@dataclass(frozen=True, kw_only=True)
class Link:
    """One round of the chain."""

    round: int
    task_hash: str
    #: None for a newest round without a block yet.
    block_hash: str | None
    parent_hash: str | None
    #: SHA-256 of the model that the round started from.
    model_hash: str


def walk(newest: Task, timeout: float) -> tuple[list[Link], list[str]]:
    """The chain, newest round first, and every reason why it does not hold. `newest`: a task whose signature is checked.

    Raises Retryable. Where a round cannot be read, the walk ends with that reason.
    """
    links: list[Link] = []
    reasons: list[str] = []
    try:
        block = _last_block(newest, timeout)
    except Rejected as error:
        return links, [f"round {newest.round}: {error}"]
    task: Task | None = newest
    while task is not None:
        links.append(
            Link(
                round=task.round,
                task_hash=task.task_hash,
                block_hash=None if block is None else block.block_hash,
                parent_hash=task.parent_block_hash,
                model_hash=to_hex(task.model_sha256),
            )
        )
        if block is not None:
            reasons += [f"round {task.round}: {reason}" for reason in _block_problems(task, block, timeout)]
        try:
            before, parent = _before(task, timeout)
        except Rejected as error:
            return links, [*reasons, f"round {task.round - 1}: {error}"]
        if before is not None and parent is not None:
            reasons += [f"round {task.round}: {reason}" for reason in _step_problems(before, parent, task)]
        task, block = before, parent
    return links, reasons


def _last_block(newest: Task, timeout: float) -> Block | None:
    """The newest round's published block, if it has one."""
    try:
        over = fetch_state(newest.aggregator_url, newest.task_id, timeout).of(newest.round)
    except RefusedByParty as error:
        if error.status == 404:
            return None
        raise
    if over is None or over.blockHash is None or over.status in ("AWAITING_VERIFICATION", "REJECTED", "ABORTED"):
        return None
    return fetch_block(newest.aggregator_url, over.blockHash, newest.aggregator_address, timeout)


def _before(task: Task, timeout: float) -> tuple[Task | None, Block | None]:
    """The round before: its task, and the block that `task` names as its parent. (None, None) before round 1."""
    if task.round == 1 or task.parent_block_hash is None:
        return None, None
    before = fetch_task(task.aggregator_url, task.task_id, task.round - 1, timeout)
    parent = fetch_block(task.aggregator_url, task.parent_block_hash, before.aggregator_address, timeout)
    return before, parent


def _block_problems(task: Task, block: Block, timeout: float) -> Iterator[str]:
    fields = block.fields
    if (fields.taskID, fields.round, fields.taskHash) != (task.task_id, task.round, task.task_hash):
        yield f"block {block.block_hash} is of another task"
    if fields.parentBlockHash != task.parent_block_hash:
        yield f"block names the parent {fields.parentBlockHash}, its task {task.parent_block_hash}"
    if fields.parentModelHash != to_hex(task.model_sha256):
        yield "block starts from another model than its task"
    try:
        check_majority(block, fetch_votes(task, block.block_hash, timeout))
    except Rejected as error:
        yield str(error)


def _step_problems(before: Task, parent: Block, task: Task) -> Iterator[str]:
    """What the publisher signed must follow from the block before."""
    try:
        before.check_signature()
    except Rejected as error:
        yield str(error)
    if (before.task_id, before.round) != (task.task_id, task.round - 1):
        yield f"the task before is round {before.round} of {before.task_id}"
    if before.publisher_address != task.publisher_address:
        yield f"signed by {task.publisher_address}, the round before by {before.publisher_address}"
    if parent.fields.modelHash != to_hex(task.model_sha256):
        yield f"starts from model {to_hex(task.model_sha256)}, the block before made {parent.fields.modelHash}"
    if task.support is not None and parent.fields.nextSupportHash != task.support.hash:
        yield "its support is not the one that the block before names"
