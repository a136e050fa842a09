"""From a candidate block to its publication, its reveals and its settlement (docs/protocol.md, section 8). Pure."""

from collections.abc import Sequence
from enum import StrEnum

from pipeline.errors import Rejected
from pipeline.nddfe.score import commitment, score_bound
from pipeline.protocol.block import Block
from pipeline.protocol.encodings import to_hex
from pipeline.protocol.reveal import Reveal
from pipeline.protocol.task import Task
from pipeline.protocol.vote import Vote, majority


class Outcome(StrEnum):
    """What the votes say."""

    OPEN = "open"
    PUBLISHED = "published"
    REJECTED = "rejected"


def outcome(block: Block, votes: Sequence[Vote], now: float, timeout: int) -> tuple[Outcome, str]:
    """What became of a block, and the sentence for people. `votes`: one a participant, checked; `timeout`: the task's, seconds."""
    participants = len(block.fields.participants)
    needed = majority(participants)
    valid = sum(vote.fields.verdict == "VALID" for vote in votes)
    invalid = len(votes) - valid
    if valid >= needed:
        return Outcome.PUBLISHED, f"{valid} of {participants} participants found the block valid, {needed} needed"
    if invalid > participants - needed:
        reasons = "; ".join(f"{vote.fields.miner}: {vote.fields.reason}" for vote in votes if vote.fields.reason)
        return Outcome.REJECTED, f"{invalid} of {participants} participants found the block invalid: {reasons}"[:2000]
    if now >= votes_close(block, timeout):
        return (
            Outcome.REJECTED,
            f"{valid} of {participants} participants found the block valid in time, {needed} needed",
        )
    return Outcome.OPEN, f"{len(votes)} of {participants} votes, {needed} valid ones needed"


def votes_close(block: Block, timeout: int) -> int:
    """Unix seconds after which no vote is taken."""
    return block.fields.createdAt + timeout


def reveals_close(block: Block, timeout: int) -> int:
    """Unix seconds after which no reveal is taken: `timeout` after the last moment at which a block is published."""
    return votes_close(block, timeout) + timeout


def check_reveal(task: Task, block: Block, support_size: int, opened: Reveal) -> None:
    """Raises Rejected unless a participant signed it, it opens the commitment and it is a score that the round allows."""
    if (opened.task_id, opened.round) != (task.task_id, task.round):
        raise Rejected(f"reveal: of round {opened.round} of {opened.task_id!r}, not of round {task.round}")
    commits = {one.miner: one.scoreCommit for one in block.fields.participants}
    if opened.miner not in commits:
        raise Rejected(f"reveal: {opened.miner} is no participant of the block")
    opened.check_signature()
    if to_hex(commitment(opened.score, opened.nonce, task.task_id, opened.miner)) != commits[opened.miner]:
        raise Rejected("reveal: does not open the commitment; score and nonce must be those that were committed to")
    most = score_bound(support_size, task.level, task.quantization.scale)
    if opened.score > most:
        raise Rejected(
            f"reveal: score {opened.score} is beyond {most}, the largest that {support_size} coordinates can have"
        )
