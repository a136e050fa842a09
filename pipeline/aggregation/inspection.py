"""A block fetched with all that belongs to it, and checked: what a miner, a publisher or anybody else does with it."""

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.aggregation.audit import Candidate, audit_block
from pipeline.aggregation.board_files import keep_model, keep_support
from pipeline.curve.contract import Kernel
from pipeline.errors import Rejected, Retryable
from pipeline.parties.blocks import audit_bytes, fetch_audit, fetch_block, fetch_submissions
from pipeline.parties.http import RefusedByParty
from pipeline.protocol.block import Block
from pipeline.protocol.encodings import indices_from_bitmap
from pipeline.protocol.signing import canonical
from pipeline.protocol.task import Task
from pipeline.settings import Settings
from pipeline.stores.artifacts import ArtifactStore


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What came out of looking at a block."""

    #: None where no block of that hash, signed by the task's aggregator, could be read.
    block: Block | None
    candidate: Candidate | None
    #: Artifact digest of the new model, made here; None where a check failed.
    model: str | None
    #: Every reason that was found; empty: the block stands.
    reasons: tuple[str, ...]


def inspect(
    task: Task,
    block_hash: str,
    own: Mapping[str, str],
    artifacts: ArtifactStore,
    settings: Settings,
    kernel: Kernel,
    *,
    now: float,
) -> Inspection:
    """Fetches a block of a task (whose signature is checked) and runs every check. `own`: submissionHash by address.

    What the aggregator refuses to show is Retryable in the first half of the time to vote, then it counts against the block.
    `now`: Unix seconds. Raises Retryable.
    """
    block: Block | None = None
    candidate: Candidate | None = None
    try:
        block = fetch_block(task.aggregator_url, block_hash, task.aggregator_address, settings.http_timeout_seconds)
        candidate = gather(task, block, artifacts, settings)
        made = audit_block(candidate, own, max_dropped_share=settings.max_dropped_share, kernel=kernel)
    except RefusedByParty as error:
        since = task.deadline if block is None else block.fields.createdAt
        if now < since + task.timeout / 2:
            raise Retryable(f"the aggregator does not show all of block {block_hash}: {error}") from None
        return Inspection(block=block, candidate=candidate, model=None, reasons=(f"withheld: {error}",))
    except Rejected as error:
        return Inspection(block=block, candidate=candidate, model=None, reasons=tuple(error.reasons))
    return Inspection(block=block, candidate=candidate, model=artifacts.put(made), reasons=())


def gather(task: Task, block: Block, artifacts: ArtifactStore, settings: Settings) -> Candidate:
    """Fetches what it takes to check a block, each part bounded. Raises Rejected or Retryable."""
    timeout = settings.http_timeout_seconds
    digest, coordinates = keep_support(task, artifacts, settings)
    support = None if digest is None else indices_from_bitmap(artifacts.get(digest), task.dimension, "support")
    audit = fetch_audit(
        task.aggregator_url, block.block_hash, max_bytes=audit_bytes(task, coordinates), timeout=timeout
    )
    return Candidate(
        task=task,
        block=block,
        audit=audit,
        submissions=fetch_submissions(task, coordinates, audit, timeout),
        support=support,
        parent=artifacts.path(keep_model(task, artifacts, settings)),
    )


def keep_evidence(
    inspection: Inspection, task: Task, url: str, reasons: tuple[str, ...], artifacts: ArtifactStore
) -> str:
    """Stores what proves that a block is bad, on disk; its digest. Anyone can check it again from it."""
    candidate = inspection.candidate
    document = {
        "task": task.document,
        "block": None if inspection.block is None else inspection.block.document,
        "url": url,
        "reasons": list(reasons),
        "audit": None if candidate is None else artifacts.put(candidate.audit.encode(), durable=True),
        "submissions": []
        if candidate is None
        else [artifacts.put(one.encode(), durable=True) for one in candidate.submissions],
        "checkAgain": f"flfleet verify {url}",
    }
    return artifacts.put(canonical(document), durable=True)
