"""An aggregator closes a round, step by step; each step's result is stored before the next begins, so a restart goes on.

request -> key -> sum -> model -> accuracy -> upload -> block -> votes -> status
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.aggregation.aggregator.context import AggregatorDesk
from pipeline.aggregation.aggregator.slicing import Unfinished, cut, join, sum_of
from pipeline.aggregation.block import NewModel, form_block
from pipeline.aggregation.board_files import model_url, upload_model
from pipeline.aggregation.function_key import build_request, check_key
from pipeline.aggregation.support import support_pieces
from pipeline.aggregation.voting import Outcome, outcome
from pipeline.errors import Corrupt, Malformed, Misconfigured, Rejected, Retryable
from pipeline.parties.http import RefusedByParty, send_into
from pipeline.protocol.block import Audit, Block
from pipeline.protocol.coordinates import Coordinates
from pipeline.protocol.file_bytes import Bytes, pieces
from pipeline.protocol.function_key import FunctionKey, KeyRequest, SignedHeader
from pipeline.protocol.signing import canonical
from pipeline.protocol.strict import read_json
from pipeline.protocol.task import Task
from pipeline.stores.aggregator.rounds import Round, RoundLease, RoundState
from pipeline.stores.aggregator.submissions import Stored
from pipeline.stores.db.lease import renewed

#: Leases of a round that may end without a word before it is given up: something in it takes workers down.
MAX_ATTEMPTS = 5
#: A key is 32 bytes a group; its envelope is small.
_ENVELOPE = 4096


@dataclass(frozen=True)
class Closing:
    """A round that is being closed under a lease."""

    desk: AggregatorDesk
    lease: RoundLease
    round: Round

    @property
    def task(self) -> Task:
        """The round's task."""
        return self.round.task

    @property
    def row(self) -> Any:
        """What the steps so far left behind."""
        return self.round.row

    @property
    def groups(self) -> int:
        """G."""
        return self.task.groups(self.row.coordinates)

    @property
    def coordinates(self) -> Coordinates:
        """The round's."""
        support = self.row.support
        return Coordinates.of(self.task.dimension, None if support is None else self.desk.artifacts.opened(support))

    def participants(self) -> list[Stored]:
        """The submissions that are in, in order of receipt."""
        return self.desk.submissions.accepted(self.task.task_id, self.task.round)

    def request(self) -> KeyRequest:
        """The request that was stored."""
        return KeyRequest.from_envelope(read_json(self.desk.rounds.envelope(self.row.request_hash)))

    def key(self) -> FunctionKey:
        """The key that was stored; it stays on disk."""
        return FunctionKey(key=self.desk.artifacts.opened(self.row.key), signature=self.row.key_signature)

    def advance(self, **values: Any) -> "Closing":
        """Stores a step's results. Raises LeaseLost."""
        return Closing(self.desk, self.lease, self.desk.rounds.advance(self.lease, **values))


Step = Callable[[Closing], Closing]


def close_round(desk: AggregatorDesk, task_id: str, number: int) -> bool:
    """Takes all steps that are due; False where the round is not being closed, or a live worker has it.

    What the other side did wrong aborts the round. Raises Retryable, Misconfigured and Corrupt after the reason is shown
    in the ledger: the next tick tries again. A large round is given back while its slices are added up (`slicing.due`).
    """
    lease = desk.rounds.claim(task_id, number)
    if lease is None:
        return False
    found = desk.rounds.find(task_id, number)
    assert found is not None
    closing = Closing(desk, lease, found)
    if lease.attempts >= MAX_ATTEMPTS:
        _abort(closing, f"closing the round ended {lease.attempts} times without a result")
        return True
    with renewed(lambda: desk.rounds.renew(lease), desk.rounds.lease_seconds):
        try:
            while closing.round.state in (RoundState.CLOSING, RoundState.AWAITING_VERIFICATION):
                following = next_step(closing)(closing)
                if following is closing:
                    break  # it waits for votes
                closing = following
        except Unfinished as error:
            desk.rounds.release(lease, reason=str(error))
            return True
        except Rejected as error:
            _abort(closing, *error.reasons)
            return True
        except (Retryable, Misconfigured, Corrupt) as error:
            desk.rounds.release(lease, reason=f"waits: {error}")
            raise
    desk.rounds.release(lease, reason=closing.row.reason)
    return True


def next_step(closing: Closing) -> Step:
    """The first step whose result is not there."""
    row = closing.row
    steps: Sequence[tuple[bool, Step]] = (
        (row.request_hash is not None, ask),
        (row.key is not None, receive_key),
        (row.aggregate is not None, add_up),
        (row.new_model is not None, renew_model),
        (row.accuracy is not None, measure),
        (bool(row.uploaded), upload),
        (row.block_hash is not None, form),
    )
    return next((step for is_done, step in steps if not is_done), conclude)


def ask(closing: Closing) -> Closing:
    """Forms and stores the request for the submissions that are in; below minMiners the round is aborted."""
    stored, task = closing.participants(), closing.task
    if len(stored) < task.min_miners:
        raise Rejected(f"{len(stored)} valid submissions, minMiners is {task.min_miners}")
    headers = [SignedHeader(header=one.header, signature=one.signature) for one in stored]
    request = build_request(task, headers, closing.desk.key, closing.groups, closing.desk.kernel)
    row = closing.desk.rounds.store_request(closing.lease, request.request_hash, request.envelope)
    return Closing(closing.desk, closing.lease, row)


def receive_key(closing: Closing) -> Closing:
    """Sends the stored request, checks and stores the key. Submissions with invalid masks are taken out, and it asks anew."""
    request, desk = closing.request(), closing.desk
    try:
        with desk.artifacts.temporary() as file:
            answer = send_into(
                file,
                "POST",
                f"{closing.task.publisher_url}/publisher/function-key",
                body=canonical(request.envelope),
                content_type="application/json",
                max_bytes=32 * closing.groups + _ENVELOPE,
                timeout=desk.settings.http_timeout_seconds,
            )
    except RefusedByParty as error:
        invalid = _invalid(error, request)
        if not invalid:
            raise Rejected(*(f"publisher: {reason}" for reason in error.reasons)) from None
        reason = "invalid masks: the publisher found that its masks are not those of this submission"
        desk.rounds.refuse_invalid(closing.lease, invalid, reason)
        return closing.advance(request_hash=None)
    key = FunctionKey.decode(answer)
    check_key(closing.task, request, key, closing.groups)
    stored = desk.artifacts.put_pieces(pieces(key.key), durable=True)
    return closing.advance(key=stored, key_signature=key.signature)


def add_up(closing: Closing) -> Closing:
    """Removes the masks and takes the logarithms: X, and what was dropped.

    A round of one slice is added up here; a larger one by all workers, which send it here again when they are done.
    """
    desk, task, row = closing.desk, closing.task, closing.row
    slices = desk.slices.all(row.request_hash)
    if not slices:
        check_key(task, closing.request(), closing.key(), closing.groups)
        pieces = cut(closing.groups, desk.settings.slice_groups)
        if len(pieces) == 1:
            total = sum_of(desk, closing.round, pieces[0])
            return closing.advance(
                aggregate=desk.artifacts.put(total.encoded, durable=True),
                mask_sums=desk.artifacts.put(total.mask_sums, durable=True),
                dropped=total.dropped,
            )
        slices = desk.slices.plan(task.task_id, task.round, row.request_hash, pieces)
    joined = join(desk, slices)
    return closing.advance(aggregate=joined.aggregate, mask_sums=joined.mask_sums, dropped=joined.dropped)


def renew_model(closing: Closing) -> Closing:
    """The new model and the next round's support."""
    from pipeline.aggregation.evaluate import model_pieces  # torch, and only where a model is read

    desk, task, row = closing.desk, closing.task, closing.row
    participants, sums = len(closing.request().submissions), desk.artifacts.opened(row.aggregate)
    model = model_pieces(desk.artifacts.path(row.model), task, sums, closing.coordinates, participants)
    support = support_pieces(task.task_id, task.round + 1, task.dimension, task.ratio, _wishes(closing))
    return closing.advance(
        new_model=desk.artifacts.put_pieces(model, durable=True),
        next_support=desk.artifacts.put_pieces(support, durable=True),
    )


def measure(closing: Closing) -> Closing:
    """Accuracy on the aggregator's own validation data."""
    from pipeline.aggregation.evaluate import evaluate  # torch

    settings = closing.desk.settings
    if settings.validation_data is None:
        raise Misconfigured("FLFLEET_VALIDATION_DATA must name the folder of this aggregator's labelled data sets")
    model = closing.desk.artifacts.path(closing.row.new_model)
    return closing.advance(
        accuracy=evaluate(model, closing.task, settings.path(settings.validation_data), settings.cache)
    )


def upload(closing: Closing) -> Closing:
    """Puts the new model on the backend."""
    desk = closing.desk
    upload_model(desk.artifacts, closing.row.new_model, desk.key, desk.settings)
    return closing.advance(uploaded=True)


def form(closing: Closing) -> Closing:
    """Signs the block and keeps it with its audit data."""
    desk, row, request = closing.desk, closing.row, closing.request()
    total = _StoredSum(
        encoded=desk.artifacts.opened(row.aggregate),
        mask_sums=desk.artifacts.opened(row.mask_sums),
        dropped=list(row.dropped),
    )
    model = NewModel(sha256="0x" + row.new_model, url=model_url(desk.settings, row.new_model), accuracy=row.accuracy)
    support = desk.artifacts.opened(row.next_support)
    block = form_block(closing.task, request, closing.key(), total, model, support, int(time.time()), desk.key)
    wishes = tuple(_wishes(closing))
    audit = Audit(request=request.envelope, mask_sums=total.mask_sums, aggregate=total.encoded, wishes=wishes)
    return closing.advance(
        state=RoundState.AWAITING_VERIFICATION,
        block=canonical(block.document).decode(),
        block_hash=block.block_hash,
        audit=desk.artifacts.put_pieces(pieces(*audit.parts), durable=True),
    )


def conclude(closing: Closing) -> Closing:
    """The status that the participants' votes give; the same `closing` while they are still open."""
    task, desk = closing.task, closing.desk
    block = Block.decode(closing.row.block.encode())
    said, reason = outcome(block, desk.verdicts.votes(block.block_hash), time.time(), task.timeout)
    if said is Outcome.OPEN:
        return closing
    if said is Outcome.REJECTED:
        return closing.advance(state=RoundState.REJECTED, reason=reason)
    if task.expected_accuracy is None or closing.row.accuracy >= task.expected_accuracy:
        return closing.advance(state=RoundState.PUBLISHED, reason=None)
    if task.round < task.max_rounds:
        return closing.advance(state=RoundState.BACK_TO_TRAINING, reason=None)
    reason = f"accuracy {closing.row.accuracy:.4f} after the last round, expected {task.expected_accuracy}"
    return closing.advance(state=RoundState.FAILED_ACCURACY, reason=reason)


def _abort(closing: Closing, *reasons: str) -> None:
    closing.advance(state=RoundState.ABORTED, reason="; ".join(reasons))
    closing.desk.rounds.release(closing.lease, reason="; ".join(reasons))


@dataclass(frozen=True, kw_only=True)
class _StoredSum:
    """As `block.Sum`."""

    encoded: Bytes
    mask_sums: Bytes
    dropped: list[int]


def _wishes(closing: Closing) -> list[Bytes | None]:
    """In the request's order; they stay on disk."""
    stored = {one.header.submission_hash: one.wish for one in closing.participants()}
    digests = [stored[entry.header.submission_hash] for entry in closing.request().submissions]
    return [None if digest is None else closing.desk.artifacts.opened(digest) for digest in digests]


def _invalid(error: RefusedByParty, request: KeyRequest) -> list[str]:
    """The submissions of the request that a 422 names as invalid."""
    try:
        answer = read_json(error.body)
    except Malformed:
        return []
    named = answer.get("invalid") if error.status == 422 and isinstance(answer, dict) else None
    hashes = [entry.header.submission_hash for entry in request.submissions]
    return [one for one in hashes if one in named] if isinstance(named, list) else []
