"""The publisher follows its rounds: signs the first, checks each block as a miner does, signs the next with what came out."""

import time
from dataclasses import dataclass
from typing import Any

from pipeline.aggregation.audit import audit_block
from pipeline.aggregation.board_files import model_url, post_task, upload_model
from pipeline.aggregation.inspection import candidate_of
from pipeline.aggregation.publisher.context import PublisherDesk
from pipeline.aggregation.support import support_pieces
from pipeline.errors import FleetError, Rejected
from pipeline.parties.blocks import Over, fetch_block, fetch_state, fetch_votes
from pipeline.parties.http import RefusedByParty
from pipeline.protocol.block import Block
from pipeline.protocol.coordinates import Coordinates
from pipeline.protocol.encodings import keccak256_of, to_hex
from pipeline.protocol.file_bytes import Bytes, pieces
from pipeline.protocol.signing import SecretKey
from pipeline.protocol.task import Task
from pipeline.protocol.vote import check_majority
from pipeline.stores.db.lease import renewed
from pipeline.stores.publisher.plans import Plan, PlanState, SignedTask

_WITH_BLOCK = ("PUBLISHED", "BACK_TO_TRAINING", "FAILED_ACCURACY")


@dataclass(frozen=True, kw_only=True)
class Verified:
    """A round whose block stood every check; model and support are in the publisher's store."""

    block: Block
    model: str
    support: str


def follow(desk: PublisherDesk, task_id: str) -> None:
    """Takes a plan one step on, if one is due. Raises LeaseLost, Retryable, Misconfigured: the next look tries again.

    What the other side did wrong stops the plan, with the reason.
    """
    plan = desk.plans.claim(task_id)
    if plan is None:
        return
    with renewed(lambda: desk.plans.renew(plan), desk.plans.lease_seconds):
        try:
            reason = _step(desk, plan)
        except Rejected as error:
            desk.plans.end(plan, PlanState.STOPPED, "; ".join(error.reasons))
            return
        except FleetError as error:
            desk.plans.release(plan, reason=f"waits: {error}")
            raise
    found = desk.plans.find(task_id)
    if found is not None and found.state is PlanState.RUNNING:
        desk.plans.release(plan, reason=reason)


def first_document(plan: Plan, now: int, publisher: SecretKey) -> dict[str, Any]:
    """Round 1's signed task."""
    compression = plan.document["compression"] | {"ratio": plan.ratio(1)}
    return _signed(plan.document | {"compression": compression, "publishedAt": now}, publisher)


def next_document(
    plan: Plan, before: Task, verified: Verified, support: Bytes, url: str, now: int, publisher: SecretKey
) -> dict[str, Any]:
    """The signed task of the round after `before`."""
    number, support_hash = before.round + 1, to_hex(keccak256_of(support))
    document = {name: value for name, value in before.document.items() if name not in ("signature", "modelIPFSHash")}
    document |= {
        "round": number,
        "modelURL": url,
        "modelSHA256": "0x" + verified.model,
        "compression": before.document["compression"] | {"ratio": plan.ratio(number)},
        "support": {"url": f"{before.publisher_url}/publisher/supports/{support_hash}", "hash": support_hash},
        "parentBlockHash": verified.block.block_hash,
        "publishedAt": now,
    }
    return _signed(document, publisher)


def verify_block(desk: PublisherDesk, signed: SignedTask, block_hash: str) -> Verified:
    """Fetches a published block and checks it as a miner does, the votes on it included. Raises Rejected or Retryable."""
    task, timeout = signed.task, desk.settings.http_timeout_seconds
    block = fetch_block(task.aggregator_url, block_hash, task.aggregator_address, timeout)
    check_majority(block, fetch_votes(task, block_hash, timeout))
    support = Coordinates.of(task.dimension, None if signed.support is None else desk.artifacts.opened(signed.support))
    candidate = candidate_of(task, block, support, signed.model, desk.artifacts, desk.settings)
    share = desk.settings.max_dropped_share
    with desk.artifacts.temporary() as file:
        model = audit_block(candidate, {}, max_dropped_share=share, kernel=desk.kernel, into=file)
    following = support_pieces(task.task_id, task.round + 1, task.dimension, task.ratio, candidate.audit.wishes)
    desk.verdicts.publish(block)
    return Verified(
        block=block,
        model=desk.artifacts.put_pieces(pieces(model), durable=True),
        support=desk.artifacts.put_pieces(following, durable=True),
    )


def _step(desk: PublisherDesk, plan: Plan) -> str | None:
    """What is due; returns what the plan waits for."""
    signed = desk.plans.signed(plan.task_id)
    if signed is None:
        task = Task.from_document(first_document(plan, int(time.time()), desk.key))
        upload_model(desk.artifacts, plan.model, desk.key, desk.settings)
        signed = desk.plans.sign(plan, task, model=plan.model, support=None)
    if not signed.posted:
        post_task(signed.task, desk.settings)
        desk.plans.mark_posted(signed.task)
    over = _outcome(signed.task, desk.settings.http_timeout_seconds)
    if over is None:
        return f"round {signed.task.round} is open"
    if over.status not in _WITH_BLOCK or over.blockHash is None:
        raise Rejected(f"round {over.round} is {over.status} at the aggregator; the publisher does not go on")
    return _go_on(desk, plan, signed, verify_block(desk, signed, over.blockHash))


def _go_on(desk: PublisherDesk, plan: Plan, before: SignedTask, verified: Verified) -> str | None:
    task, accuracy = before.task, verified.block.fields.accuracy
    reached = task.expected_accuracy is None or accuracy >= task.expected_accuracy
    if task.round >= task.max_rounds or (reached and plan.stop_at_expected):
        desk.plans.end(plan, PlanState.DONE, f"accuracy {accuracy:.4f} after round {task.round} of {task.max_rounds}")
        return None
    # Its own bytes, not the aggregator's: the board is not believed, and twice does no harm.
    upload_model(desk.artifacts, verified.model, desk.key, desk.settings)
    url, bitmap = model_url(desk.settings, verified.model), desk.artifacts.opened(verified.support)
    following = Task.from_document(next_document(plan, task, verified, bitmap, url, int(time.time()), desk.key))
    signed = desk.plans.sign(plan, following, model=verified.model, support=verified.support)
    post_task(signed.task, desk.settings)
    desk.plans.mark_posted(signed.task)
    return f"round {following.round} is open"


def _outcome(task: Task, timeout: float) -> Over | None:
    """How the round ended at the aggregator; None while it is open there, or not adopted yet."""
    try:
        state = fetch_state(task.aggregator_url, task.task_id, timeout)
    except RefusedByParty as error:
        if error.status == 404:
            return None
        raise
    return next((entry for entry in state.history if entry.round == task.round), None)


def _signed(document: dict[str, Any], publisher: SecretKey) -> dict[str, Any]:
    return document | {"signature": publisher.sign("task", document)}
