"""Which coordinates the next round is made of, by the participants' wishes (docs/protocol.md, section 8)."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Malformed
from pipeline.learning.selection import spans, threshold
from pipeline.nddfe.keystream import words4
from pipeline.protocol.encodings import ceil_ratio, sha256
from pipeline.protocol.file_bytes import Bytes


def next_support(task_id: str, next_round: int, dimension: int, ratio: float, wishes: Iterable[Bytes | None]) -> bytes:
    """The bitmap of `support_pieces` in memory: d/8 bytes."""
    return b"".join(support_pieces(task_id, next_round, dimension, ratio, wishes))


def support_pieces(
    task_id: str, next_round: int, dimension: int, ratio: float, wishes: Iterable[Bytes | None]
) -> Iterator[bytes]:
    """The bitmap of the ceil(ratio * d) coordinates with most votes; ties to the smaller keystream word, then the smaller j.

    `next_round`: the round that will use it; the wishes may lie on disk. Raises Malformed for a wish of another length. A few
    passes in chunks: time is linear in d, memory does not grow with it.
    """
    ballots = [wish for wish in wishes if wish is not None]
    for ballot in ballots:
        if len(ballot) != (dimension + 7) // 8:
            raise Malformed(f"wish: expected {(dimension + 7) // 8} bytes for {dimension} bits, got {len(ballot)}")
    name = task_id.encode()
    seed = sha256(b"ndd-fe/1 support" + len(name).to_bytes(2, "big") + name + next_round.to_bytes(8, "big"))
    counts = np.zeros(len(ballots) + 1, dtype=np.int64)
    for start, stop in spans(dimension):
        counts += np.bincount(_votes(ballots, start, stop), minlength=len(counts))
    level, wanted = _level(counts, ceil_ratio(ratio, dimension))

    def level_words() -> Iterator[NDArray[np.uint32]]:
        """Of the coordinates that the words decide on; turned round, since the smaller word wins."""
        for start, stop in spans(dimension):
            yield ~words4(seed, start, stop - start)[_votes(ballots, start, stop) == level]

    last, ties = threshold(level_words, wanted)
    for start, stop in spans(dimension):
        votes, words = _votes(ballots, start, stop), ~words4(seed, start, stop - start)
        chosen = (votes > level) | ((votes == level) & (words > last))
        tied = np.flatnonzero((votes == level) & (words == last))[:ties]
        chosen[tied] = True
        ties -= len(tied)
        yield np.packbits(chosen, bitorder="little").tobytes()


def _votes(ballots: Sequence[Bytes], start: int, stop: int) -> NDArray[np.uint16]:
    """Votes of coordinates start .. stop - 1; `start` is a multiple of 8."""
    votes = np.zeros(stop - start, dtype=np.uint16)
    for ballot in ballots:
        part = np.frombuffer(ballot[start // 8 : (stop + 7) // 8], dtype=np.uint8)
        votes += np.unpackbits(part, count=stop - start, bitorder="little")
    return votes


def _level(counts: NDArray[np.int64], size: int) -> tuple[int, int]:
    """The number of votes that the last chosen coordinate has, and how many of those with as many are chosen."""
    for level in reversed(range(len(counts))):
        if size <= counts[level]:
            return level, size
        size -= int(counts[level])
    raise ValueError("a support larger than the model")
