"""A block fetched with all that belongs to it, and checked: what a miner, a publisher or anybody else does with it."""

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.aggregation.audit import Candidate, audit_block
from pipeline.aggregation.board_files import keep_model, keep_support
from pipeline.curve.contract import Kernel
from pipeline.errors import Rejected, Retryable
from pipeline.parties.blocks import audit_bytes, fetch_audit, fetch_block, fetch_submission
from pipeline.parties.http import RefusedByParty
from pipeline.protocol.block import Block
from pipeline.protocol.coordinates import Coordinates
from pipeline.protocol.file_bytes import pieces
from pipeline.protocol.function_key import KeyRequest
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
        with artifacts.temporary() as file:
            made = audit_block(candidate, own, max_dropped_share=settings.max_dropped_share, kernel=kernel, into=file)
    except RefusedByParty as error:
        since = task.deadline if block is None else block.fields.createdAt
        if now < since + task.timeout / 2:
            raise Retryable(f"the aggregator does not show all of block {block_hash}: {error}") from None
        return Inspection(block=block, candidate=candidate, model=None, reasons=(f"withheld: {error}",))
    except Rejected as error:
        return Inspection(block=block, candidate=candidate, model=None, reasons=tuple(error.reasons))
    return Inspection(block=block, candidate=candidate, model=artifacts.put_pieces(pieces(made)), reasons=())


def gather(task: Task, block: Block, artifacts: ArtifactStore, settings: Settings) -> Candidate:
    """Fetches what it takes to check a block, each part bounded. Raises Rejected or Retryable."""
    digest, _ = keep_support(task, artifacts, settings)
    support = Coordinates.of(task.dimension, None if digest is None else artifacts.opened(digest))
    return candidate_of(task, block, support, keep_model(task, artifacts, settings), artifacts, settings)


def candidate_of(
    task: Task, block: Block, support: Coordinates, parent: str, artifacts: ArtifactStore, settings: Settings
) -> Candidate:
    """A block with its audit and submissions, in files that are gone when nobody reads them any more.

    `parent`: artifact digest of the round's model. Raises Rejected or Retryable.
    """
    timeout = settings.http_timeout_seconds
    with artifacts.temporary() as file:
        most = audit_bytes(task, support.size)
        audit = fetch_audit(task.aggregator_url, block.block_hash, max_bytes=most, timeout=timeout, into=file)
    submissions = []
    for one in KeyRequest.from_envelope(audit.request).submissions:
        with artifacts.temporary() as file:
            submissions.append(fetch_submission(task, support.size, one.header.submission_hash, timeout, file))
    return Candidate(
        task=task,
        block=block,
        audit=audit,
        submissions=tuple(submissions),
        support=support,
        parent=artifacts.path(parent),
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
        "audit": None if candidate is None else artifacts.put_pieces(pieces(*candidate.audit.parts), durable=True),
        "submissions": []
        if candidate is None
        else [artifacts.put_pieces(pieces(*one.parts), durable=True) for one in candidate.submissions],
        "checkAgain": f"flfleet verify {url}",
    }
    return artifacts.put(canonical(document), durable=True)
