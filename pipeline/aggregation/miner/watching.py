"""A fleet watches the rounds in which it took part: check the block, vote, reveal, be paid (docs/protocol.md, section 8).

Every step is written down before it is said to anybody, and is said until it is answered: a restart goes on where it was.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.aggregation.audit import check_accuracy, check_own
from pipeline.aggregation.inspection import Inspection, inspect, keep_evidence
from pipeline.aggregation.voting import reveals_close, votes_close
from pipeline.curve.contract import Kernel
from pipeline.errors import Rejected
from pipeline.parties.blocks import Over, fetch_settlement, fetch_state, fetch_votes, send_reveal, send_vote
from pipeline.parties.http import RefusedByParty
from pipeline.protocol.block import Block
from pipeline.protocol.encodings import from_hex
from pipeline.protocol.reveal import Reveal
from pipeline.protocol.signing import SecretKey
from pipeline.protocol.strict import read_json
from pipeline.protocol.task import Task
from pipeline.protocol.vote import Vote, check_majority
from pipeline.settings import Settings
from pipeline.stores.artifacts import ArtifactStore
from pipeline.stores.fleet.witness import Witnessed, WitnessLedger
from pipeline.stores.keys import Identity

PUBLISHED = ("PUBLISHED", "BACK_TO_TRAINING", "FAILED_ACCURACY")
#: Seconds after the last reveal for which a settlement is waited for.
SETTLEMENT_GRACE_SECONDS = 24 * 3600


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A submission of ours that the aggregator gave its receipt for."""

    identity: Identity
    submission_hash: str
    #: Artifact digest of the score's opening.
    opening: str


@dataclass(frozen=True, kw_only=True)
class Watcher:
    """What a fleet watches with."""

    settings: Settings
    book: WitnessLedger
    artifacts: ArtifactStore
    kernel: Callable[[], Kernel]
    #: Opens an identity's secret key by address: only where something is signed.
    key: Callable[[str], SecretKey]


def watch(watcher: Watcher, task: Task, sent: Sequence[Sent], now: float) -> str:
    """Takes one round as far as it goes; a word for people. `now`: Unix seconds. Raises Retryable, Misconfigured, Corrupt."""
    timeout = watcher.settings.http_timeout_seconds
    over = fetch_state(task.aggregator_url, task.task_id, timeout).of(task.round)
    if over is None:
        return "no block yet"
    if over.blockHash is None:
        watcher.book.end(task.task_hash, over.status)
        return over.status
    found = _witnessed(watcher, task, sent, over.blockHash, now)
    _send_votes(watcher, task, found.block_hash)
    if found.block is None or over.status not in PUBLISHED:
        if over.status == "REJECTED":
            watcher.book.end(task.task_hash, over.status)
        return over.status
    _reveal(watcher, task, sent, found.block)
    return _be_paid(watcher, task, sent, found.block, over, now)


def _witnessed(watcher: Watcher, task: Task, sent: Sequence[Sent], block_hash: str, now: float) -> Witnessed:
    """The verdict on a block, made once: with the votes of our participants, and evidence where something is wrong.

    A receipt may come after the block (its answer was lost, or late): whose came since the verdict looks and votes then.
    """
    seen = watcher.book.blocks(task.task_id, task.round)
    known = next((one for one in seen if one.block_hash == block_hash), None)
    if known is not None:
        seen.remove(known)
        sent = _without_vote(watcher, task, known, sent, now)
        if not sent:
            return known
    own = {one.identity.address: one.submission_hash for one in sent}
    inspection = inspect(task, block_hash, own, watcher.artifacts, watcher.settings, watcher.kernel(), now=now)
    common = inspection.reasons + tuple(_equivocations(watcher, task, seen))
    votes, reasons = _votes(watcher, task, sent, inspection, common, now)
    url = f"{task.aggregator_url}/aggregator/blocks/{block_hash}"
    found = Witnessed(
        block_hash=block_hash,
        task_id=task.task_id,
        round=task.round,
        task_hash=task.task_hash,
        block=inspection.block,
        reasons=reasons,
        evidence=keep_evidence(inspection, task, url, reasons, watcher.artifacts) if reasons else None,
        url=url,
        seen_at=now,
    )
    watcher.book.witness(found, votes)
    return found if known is None else known


def _without_vote(watcher: Watcher, task: Task, known: Witnessed, sent: Sequence[Sent], now: float) -> Sequence[Sent]:
    """Those of ours that take part in a block and have not voted on it, while votes are taken."""
    if known.block is None or now >= votes_close(known.block, task.timeout):
        return []
    participants = {one.miner for one in known.block.fields.participants}
    waiting = participants - {vote.fields.miner for vote in watcher.book.votes(known.block_hash)}
    return [one for one in sent if one.identity.address in waiting]


def _equivocations(watcher: Watcher, task: Task, seen: Sequence[Witnessed]) -> list[str]:
    """Two blocks for one round, of which at least one was signed for nothing."""
    reasons = [f"equivocation: the aggregator signed block {one.block_hash} for this round too" for one in seen]
    before = [one.block_hash for one in watcher.book.blocks(task.task_id, task.round - 1)]
    if before and task.parent_block_hash not in before:
        reasons.append(
            f"equivocation: the task's parent is block {task.parent_block_hash}, this fleet was shown {before[0]} for that round"
        )
    return reasons


def _votes(
    watcher: Watcher, task: Task, sent: Sequence[Sent], inspection: Inspection, common: tuple[str, ...], now: float
) -> tuple[list[Vote], tuple[str, ...]]:
    """A vote of each of ours that takes part, and all reasons: those of the block, and of the model on each one's data."""
    block, reasons = inspection.block, list(common)
    if block is None:
        return [], common
    participants = {one.miner for one in block.fields.participants}
    votes = []
    for one in sent:
        against = list(common)
        if inspection.model is not None and not common:
            try:
                _check_accuracy(watcher, task, one.identity, inspection)
            except Rejected as error:
                against += error.reasons
                reasons += [f"{one.identity.name}: {reason}" for reason in error.reasons]
        if one.identity.address in participants and now < votes_close(block, task.timeout):
            key = watcher.key(one.identity.address)
            votes.append(Vote.make(block, "INVALID" if against else "VALID", against, key))
    return votes, tuple(reasons)


def _check_accuracy(watcher: Watcher, task: Task, identity: Identity, inspection: Inspection) -> None:
    from pipeline.aggregation.evaluate import held_back_accuracy  # torch

    assert inspection.candidate is not None
    assert inspection.model is not None
    settings = watcher.settings
    before, after = (
        held_back_accuracy(path, task, identity.data, settings.cache, settings.validation_share)
        for path in (inspection.candidate.parent, watcher.artifacts.path(inspection.model))
    )
    if before is not None and after is not None:
        check_accuracy(before, after, settings.max_accuracy_loss)


def _send_votes(watcher: Watcher, task: Task, block_hash: str) -> None:
    for vote in watcher.book.votes(block_hash, unsent=True):
        try:
            send_vote(task, vote, watcher.settings.http_timeout_seconds)
        except RefusedByParty as error:
            watcher.book.vote_answered(vote, f"{error.status}: {error}")
        else:
            watcher.book.vote_answered(vote, None)


def _reveal(watcher: Watcher, task: Task, sent: Sequence[Sent], block: Block) -> None:
    """Opens our commitments, once the votes have published the block and our submissions stand in it as they were sent."""
    timeout = watcher.settings.http_timeout_seconds
    check_majority(block, fetch_votes(task, block.block_hash, timeout))
    for one in sent:
        try:
            check_own(block, {one.identity.address: one.submission_hash})
        except Rejected:
            continue
        watcher.book.keep_reveal(_opened(watcher, task, one))
    for party, opened in watcher.book.unsent_reveals(task.task_id, task.round):
        url = f"{task.aggregator_url}/aggregator" if party == "aggregator" else f"{task.publisher_url}/publisher"
        try:
            send_reveal(url, opened, timeout)
        except RefusedByParty as error:
            # The publisher looks at blocks in its own time: until it knows this one it answers 404.
            if error.status != 404:
                watcher.book.reveal_answered(party, opened, f"{error.status}: {error}")
        else:
            watcher.book.reveal_answered(party, opened, None)


def _opened(watcher: Watcher, task: Task, one: Sent) -> Reveal:
    opening: Mapping[str, str] = read_json(watcher.artifacts.get(one.opening))
    score, nonce = int(opening["score"]), from_hex(opening["nonce"])
    return Reveal.make(task.task_id, task.round, score, nonce, watcher.key(one.identity.address))


def _be_paid(watcher: Watcher, task: Task, sent: Sequence[Sent], block: Block, over: Over, now: float) -> str:
    settlement = fetch_settlement(task, block, watcher.settings.http_timeout_seconds)
    end = reveals_close(block, task.timeout)
    if settlement is not None:
        watcher.book.paid(settlement, [one.identity.address for one in sent])
        # The publisher may still want our reveals.
        if not watcher.book.unsent_reveals(task.task_id, task.round) or now >= end:
            watcher.book.end(task.task_hash, over.status)
        return "settled"
    if now >= end + SETTLEMENT_GRACE_SECONDS:
        watcher.book.end(task.task_hash, f"{over.status}, never settled")
    return over.status
