"""The k largest of very many numbers without a sorted copy: two passes over histograms, a chunk in memory at a time."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

#: Numbers that are worked on at once: some ten arrays of 2 MiB at most. A multiple of 8, so that bitmaps meet without a seam.
CHUNK = 2**18
_HALF = 16
_LOW = 2**_HALF - 1

#: Begins again and gives all numbers, uint32, in pieces.
Pieces = Callable[[], Iterable[NDArray[np.uint32]]]


def spans(count: int) -> Iterator[tuple[int, int]]:
    """(start, stop) of consecutive pieces of at most `CHUNK`."""
    return ((start, min(start + CHUNK, count)) for start in range(0, count, CHUNK))


def threshold(pieces: Pieces, k: int) -> tuple[int, int]:
    """(t, n): the k-th largest number, and how many that are equal to it are among the k largest. 1 <= k <= their count."""
    high = sum((_histogram(piece >> np.uint32(_HALF)) for piece in pieces()), np.zeros(_LOW + 1, dtype=np.int64))
    top, k = _descend(high, k)
    low = np.zeros(_LOW + 1, dtype=np.int64)
    for piece in pieces():
        low += _histogram(piece[piece >> np.uint32(_HALF) == top] & np.uint32(_LOW))
    bottom, k = _descend(low, k)
    return top << _HALF | bottom, k


def _histogram(numbers: NDArray[np.uint32]) -> NDArray[np.int64]:
    return np.bincount(numbers, minlength=_LOW + 1)


def _descend(counts: NDArray[np.int64], k: int) -> tuple[int, int]:
    """The bin that the k-th largest lies in, and its rank from the top of that bin."""
    from_top = np.cumsum(counts[::-1])
    place = int(np.searchsorted(from_top, k))
    above = int(from_top[place - 1]) if place else 0
    return len(counts) - 1 - place, k - above
