"""A large round's sum in slices of its groups: any aggregate worker takes one, the ledger counts, the last one joins them.

A worker reads its own part of ciphertexts and key from disk, so its memory is bounded by the slice whatever the dimension.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.aggregation.aggregator.context import AggregatorDesk
from pipeline.aggregation.decrypt import Aggregate, aggregate_slice
from pipeline.aggregation.function_key import own_stream_key
from pipeline.errors import Corrupt, Misconfigured, Rejected, Retryable
from pipeline.nddfe.ciphertext import Ciphertext
from pipeline.protocol.file_bytes import Bytes, pieces
from pipeline.protocol.function_key import KeyRequest
from pipeline.protocol.strict import read_json
from pipeline.stores.aggregator.rounds import Round, RoundState
from pipeline.stores.aggregator.slices import Slice
from pipeline.stores.db.lease import renewed

#: Claims of a slice that may end without a word before its round is given up: something in it takes workers down.
MAX_ATTEMPTS = 5


class Unfinished(Retryable):
    """Slices are still to be added up; the last one sends the round on."""


@dataclass(frozen=True)
class Joined:
    """A whole round's sum, stored: digests of X and of the M_g, and the dropped groups."""

    aggregate: str
    mask_sums: str
    dropped: list[int]


def cut(groups: int, size: int) -> list[range]:
    """0 .. groups - 1 in ranges of at most `size`."""
    return [range(first, min(first + size, groups)) for first in range(0, groups, size)]


def sum_of(desk: AggregatorDesk, found: Round, groups: range) -> Aggregate:
    """The sum of these groups of a round whose key is in. Raises Corrupt, Retryable, Misconfigured."""
    task, coordinates = found.task, found.row.coordinates
    request = KeyRequest.from_envelope(read_json(desk.rounds.envelope(found.row.request_hash)))
    headers = [entry.header for entry in request.submissions]
    digests = {
        one.header.submission_hash: one.ciphertext for one in desk.submissions.accepted(task.task_id, task.round)
    }
    points = task.groups(coordinates) + 1
    ciphertexts = [Ciphertext(desk.artifacts.opened(digests[one.submission_hash]), points) for one in headers]
    streams = [own_stream_key("agg", task, header, desk.key) for header in headers]
    key: Bytes = desk.artifacts.opened(found.row.key)
    return aggregate_slice(task, coordinates, ciphertexts, streams, key, desk.kernel, groups)


def add_slice(desk: AggregatorDesk, task_id: str, number: int, index: int) -> bool:
    """Works on one slice; True where its round should be closed on: it was the last one, or it is given up.

    Twice does no harm: a result stands, and a live worker is not disturbed. Raises LeaseLost, and Retryable, Misconfigured
    and Corrupt after the reason is in the ledger.
    """
    found = desk.rounds.find(task_id, number)
    if found is None or not _is_due(found):
        return False
    one = desk.slices.claim(found.row.request_hash, index)
    if one is None:
        return False
    if one.attempts >= MAX_ATTEMPTS:
        desk.slices.give_up(one, reason=f"slice {index} ended {one.attempts} times without a result")
        return True
    with renewed(lambda: desk.slices.renew(one), desk.slices.lease_seconds):
        try:
            total = sum_of(desk, found, one.groups)
            aggregate = desk.artifacts.put(total.encoded, durable=True)
            mask_sums = desk.artifacts.put(total.mask_sums, durable=True)
        except (Retryable, Misconfigured, Corrupt) as error:
            desk.slices.release(one, reason=str(error))
            raise
    return desk.slices.finish(one, aggregate=aggregate, mask_sums=mask_sums, dropped=total.dropped)


def due(desk: AggregatorDesk, found: Round) -> list[int]:
    """The slices of a round that nobody works on."""
    if not _is_due(found):
        return []
    known = desk.slices.all(found.row.request_hash)
    return [one.index for one in known if not (one.is_done or one.is_taken or one.attempts >= MAX_ATTEMPTS)]


def join(desk: AggregatorDesk, slices: Sequence[Slice]) -> Joined:
    """The slices' results as one, streamed from file to file. Raises Unfinished, and Rejected where a slice was given up."""
    for one in slices:
        if not one.is_done and one.attempts >= MAX_ATTEMPTS and not one.is_taken:
            raise Rejected(one.reason or f"slice {one.index} was given up")
    open_ = [one for one in slices if not one.is_done]
    if open_:
        waits = next((f"; slice {one.index}: {one.reason}" for one in open_ if one.reason), "")
        raise Unfinished(f"{len(slices) - len(open_)} of {len(slices)} slices are added up{waits}")
    return Joined(
        aggregate=desk.artifacts.put_pieces(_results(desk, slices, "aggregate"), durable=True),
        mask_sums=desk.artifacts.put_pieces(_results(desk, slices, "mask_sums"), durable=True),
        dropped=[group for one in slices for group in one.dropped],
    )


def _results(desk: AggregatorDesk, slices: Sequence[Slice], name: str) -> Iterator[bytes | memoryview]:
    for one in slices:
        try:
            yield from pieces(desk.artifacts.opened(getattr(one, name)))
        except Corrupt:
            desk.slices.forget(one)
            raise Unfinished(f"slice {one.index} is added up again: its result was damaged") from None


def _is_due(found: Round) -> bool:
    row = found.row
    return found.state is RoundState.CLOSING and row.key is not None and row.aggregate is None
