"""flfleet.poll: asks the backend for open tasks, judges each for each miner, makes runs and sends them on their way."""

import time
from collections.abc import Iterable, Sequence

import structlog

from pipeline.errors import Misconfigured, Rejected, Retryable
from pipeline.parties.backend import UnreadableTask, open_tasks
from pipeline.protocol.admission import Circumstances, Policy, authenticity, refusals
from pipeline.protocol.task import Task
from pipeline.settings import Settings, current
from pipeline.stages.contract import Stage
from pipeline.stores.fleet.approvals import Approval, Verdict
from pipeline.stores.fleet.controls import Control
from pipeline.stores.fleet.ledger import RunLedger
from pipeline.stores.fleet.records import Refusal, label_of
from pipeline.stores.keys import Identity
from tasks.app import app
from tasks.chain import start
from tasks.holdings import ledger, miners

_log = structlog.get_logger(__name__)


@app.task(name="flfleet.poll", ignore_result=True, throws=(Retryable, Rejected, Misconfigured))
def poll() -> str:
    """One look at the task board. A poll that fails is nothing: the next one comes in seconds."""
    settings = current()
    found = open_tasks(settings.backend_url, timeout=settings.http_timeout_seconds)
    added = admit(found, list(miners().values()), settings, ledger())
    for run_id, label in added.items():
        if settings.otel_endpoint:
            from tasks.tracing import run_added  # an extra, where the setting asks for it

            run_added(run_id, label)
        start(run_id, next(iter(Stage)), token=0, label=label)
    return f"{len(found)} open, {len(added)} new runs"


def admit(
    found: Iterable[Task | UnreadableTask], own: Sequence[Identity], settings: Settings, book: RunLedger
) -> dict[str, str]:
    """Makes the runs that are to be made and writes the refusals down. Returns the new runs' ids, and what people call them."""
    policy, addresses = policy_of(settings), frozenset(miner.address for miner in own)
    added: dict[str, str] = {}
    left = book.left_tasks()
    for task in found:
        if isinstance(task, UnreadableTask):
            _refuse(book, task.entry_hash, "", task.task_id, task.round, task.reasons)
            continue
        have = book.miners_of(task.task_hash)
        given = None if have.issuperset(addresses) else book.approval(task)
        word = _word(task, left.get(task.task_id), given)
        held = settings.approval and (given is None or given.verdict is not Verdict.APPROVED)
        for miner in own:
            if miner.address in have:
                continue
            run_id = _admit(task, miner, addresses, policy, book, word=word, held=held)
            if run_id is not None and held:
                _log.info("run held for approval", run=run_id, task=task.task_id, round=task.round)
            elif run_id is not None:
                _log.info("run added", run=run_id, task=task.task_id, round=task.round, miner=miner.address)
                added[run_id] = label_of(task.task_id, task.round, miner.name)
    return added


def policy_of(settings: Settings) -> Policy:
    """The operator's floors, from the settings."""
    return Policy(
        trusted_publishers=frozenset(settings.trusted_publishers),
        trusted_aggregators=frozenset(settings.trusted_aggregators),
        known_miners=frozenset(settings.known_miners),
        min_known_participants=settings.min_known_participants,
        min_coordinates=settings.min_coordinates,
        max_submissions_per_model=settings.max_submissions_per_model,
        max_dimension=settings.max_dimension,
        allow_unsigned_tasks=settings.allow_unsigned_tasks,
        has_ipfs=bool(settings.ipfs_api or settings.ipfs_gateways),
        max_epsilon=settings.max_epsilon,
    )


def _word(task: Task, left: Control | None, given: Approval | None) -> list[str]:
    """Why a person does not want this task; empty where nobody said so."""
    if left is not None:
        return [
            f"{left.by} left the task on purpose{_because(left.reason)}; back with: flfleet leave {task.task_id} --undo"
        ]
    if given is not None and given.verdict is Verdict.REFUSED:
        return [f"{given.by} refused the task{_because(given.reason)}; otherwise: flfleet tasks approve {task.task_id}"]
    return []


def _because(reason: str) -> str:
    return f" ({reason})" if reason else ""


def _admit(
    task: Task,
    miner: Identity,
    own: frozenset[str],
    policy: Policy,
    book: RunLedger,
    *,
    word: Sequence[str],
    held: bool,
) -> str | None:
    # Only a trusted publisher's task takes its (taskID, round): else anybody could take it before the true one comes.
    trusted = not authenticity(task, policy)
    standing = book.add_task(task) if trusted else book.standing_task(task.task_id, task.round)
    folder = miner.data / task.dataset
    here = Circumstances(
        address=miner.address,
        own=own,
        data_folder=str(folder),
        holds_dataset=folder.is_dir(),
        standing_task=standing,
        submissions=book.submissions_for_model(
            miner.address, task.dataset, task.model_sha256.hex(), but=task.task_hash
        ),
        now=time.time(),
    )
    spent = book.exhausted(miner.address, task.dataset)
    reasons = [*refusals(task, policy, here), *word, *([] if spent is None else [spent])]
    if reasons:
        _refuse(book, task.task_hash, miner.address, task.task_id, task.round, reasons)
        return None
    # Counted once more inside: two polls at a time must not make two runs over one model.
    return book.add_run(task, miner.address, miner.name, max_submissions=policy.max_submissions_per_model, held=held)


def _refuse(
    book: RunLedger, task_hash: str, miner: str, task_id: str, round_number: int, reasons: Sequence[str]
) -> None:
    refusal = Refusal(
        task_hash=task_hash,
        miner=miner,
        task_id=task_id,
        round=round_number,
        reasons=tuple(reasons),
        created_at=time.time(),
    )
    if book.refuse(refusal):
        _log.warning("task refused", task=task_id, round=round_number, miner=miner, reasons=list(reasons))
