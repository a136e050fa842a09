"""Blocks and what belongs to them, as anyone may ask an aggregator for it; votes and reveals go there too (docs/protocol.md, section 8)."""

from typing import IO

import msgspec

from pipeline.errors import Malformed, Rejected, Retryable
from pipeline.parties.http import RefusedByParty, fetch_bytes, fetch_into, send
from pipeline.protocol.block import MAX_BLOCK_BYTES, Audit, Block
from pipeline.protocol.reveal import Reveal
from pipeline.protocol.settlement import MAX_SETTLEMENT_BYTES, Settlement
from pipeline.protocol.signing import check_embedded_signature
from pipeline.protocol.strict import convert, read_json
from pipeline.protocol.submission import Submission, max_bytes
from pipeline.protocol.task import MAX_TASK_BYTES, Task
from pipeline.protocol.vote import MAX_VOTE_BYTES, Vote

#: Bytes of a task's state that are read: some 200 a round.
_MAX_STATE_BYTES = 16 * 1024 * 1024
#: Bytes of an audit's request a participant: a header with its signature is 1.5 KiB.
_HEADER_BYTES = 4096
#: Bytes of an answer that only says yes.
_SHORT = 16 * 1024


class Over(msgspec.Struct, frozen=True):
    """A round in the aggregator's history: it is over."""

    round: int
    status: str
    blockHash: str | None = None


class TaskState(msgspec.Struct, frozen=True):
    """What an aggregator says of a task (section 7)."""

    round: int
    status: str
    history: list[Over]
    #: The newest round's block; None until there is one.
    blockHash: str | None = None

    def of(self, number: int) -> Over | None:
        """A round that has a block or is over."""
        found = next((entry for entry in self.history if entry.round == number), None)
        if found is None and self.round == number and self.blockHash is not None:
            return Over(round=number, status=self.status, blockHash=self.blockHash)
        return found


def fetch_state(aggregator_url: str, task_id: str, timeout: float) -> TaskState:
    """A task's state. Raises Rejected (RefusedByParty 404 where the aggregator does not know it) or Retryable."""
    url = f"{aggregator_url}/aggregator/tasks/{task_id}"
    return convert(read_json(fetch_bytes(url, max_bytes=_MAX_STATE_BYTES, timeout=timeout)), TaskState, url)


def fetch_block(aggregator_url: str, block_hash: str, aggregator_address: str, timeout: float) -> Block:
    """The block of a hash, signed by the aggregator. Raises Rejected where another one came, BadSignature, Retryable."""
    url = f"{aggregator_url}/aggregator/blocks/{block_hash}"
    block = Block.decode(fetch_bytes(url, max_bytes=MAX_BLOCK_BYTES, timeout=timeout))
    if block.block_hash != block_hash:
        raise Rejected(f"{url}: answered with block {block.block_hash}")
    check_embedded_signature("block", block.document, aggregator_address, "the aggregator")
    return block


def fetch_audit(
    aggregator_url: str, block_hash: str, *, max_bytes: int, timeout: float, into: IO[bytes] | None = None
) -> Audit:
    """A block's audit data; the block's hashes say whether they are the right ones. Raises Rejected or Retryable.

    `into`: an open, empty file in which its bodies then stay; None: in memory.
    """
    url = f"{aggregator_url}/aggregator/blocks/{block_hash}/audit"
    if into is None:
        return Audit.decode(fetch_bytes(url, max_bytes=max_bytes, timeout=timeout))
    return Audit.decode(fetch_into(into, url, max_bytes=max_bytes, timeout=timeout))


def audit_bytes(task: Task, coordinates: int) -> int:
    """The largest audit of a round: mask sums, aggregate, wishes and the request."""
    wish = (task.dimension + 7) // 8 + 16
    return 32 * task.groups(coordinates) + 8 * coordinates + task.max_miners * (wish + _HEADER_BYTES) + 65536


def fetch_submission(task: Task, coordinates: int, submission_hash: str, timeout: float, into: IO[bytes]) -> Submission:
    """A submission as its miner sent it; its bodies stay in `into`, an open, empty file. Raises Rejected or Retryable."""
    url = f"{task.aggregator_url}/aggregator/submissions/{submission_hash}"
    most = max_bytes(task.groups(coordinates), task.dimension)
    return Submission.decode(fetch_into(into, url, max_bytes=most, timeout=timeout))


def fetch_votes(task: Task, block_hash: str, timeout: float) -> list[Vote]:
    """The votes on a block, each read strictly; the caller checks them. Raises Rejected or Retryable."""
    url = f"{task.aggregator_url}/aggregator/blocks/{block_hash}/votes"
    listed = read_json(fetch_bytes(url, max_bytes=task.max_miners * MAX_VOTE_BYTES + 1024, timeout=timeout))
    if not isinstance(listed, list):
        raise Malformed(f"{url}: expected a list of votes")
    return [Vote.from_envelope(envelope) for envelope in listed]


def fetch_task(aggregator_url: str, task_id: str, number: int, timeout: float) -> Task:
    """The signed task of a round, whose signature is the caller's to check. Raises Rejected or Retryable."""
    url = f"{aggregator_url}/aggregator/tasks/{task_id}/rounds/{number}/task"
    return Task.decode(fetch_bytes(url, max_bytes=MAX_TASK_BYTES, timeout=timeout))


def fetch_settlement(task: Task, block: Block, timeout: float) -> Settlement | None:
    """The round's settlement, checked; None until there is one. Raises Rejected, BadSignature or Retryable."""
    url = f"{task.aggregator_url}/aggregator/tasks/{task.task_id}/rounds/{task.round}/settlement"
    try:
        settlement = Settlement.decode(fetch_bytes(url, max_bytes=MAX_SETTLEMENT_BYTES, timeout=timeout))
    except RefusedByParty as error:
        if error.status == 404:
            return None
        raise
    settlement.check(block, task.aggregator_address)
    return settlement


def send_vote(task: Task, vote: Vote, timeout: float) -> None:
    """Returns once the aggregator has taken the vote. Raises RefusedByParty (409, 410, 422) or Retryable."""
    url = f"{task.aggregator_url}/aggregator/blocks/{vote.fields.blockHash}/votes"
    _post(url, vote.encode(), timeout)


def send_reveal(url: str, opened: Reveal, timeout: float) -> None:
    """Returns once the party at `url` (the aggregator's or the publisher's own prefix) has taken the reveal.

    Raises RefusedByParty (409, 410, 422) or Retryable.
    """
    _post(f"{url}/tasks/{opened.task_id}/rounds/{opened.round}/reveal", opened.encode(), timeout)


def _post(url: str, body: bytes, timeout: float) -> None:
    answer = send("POST", url, body=body, content_type="application/json", max_bytes=_SHORT, timeout=timeout)
    if answer.status != 202:
        raise Retryable(f"{url} answered {answer.status}, expected 202")
