"""Where the readers of a data set say what is wrong with it: a training stops at the first fault, a check wants all of them.

A reader tells a fault and goes on with what is sound. So one reader serves both: `Faults.tell` raises, `EveryFault.tell` keeps.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.errors import Misconfigured

#: A person mends what a hundred lines say before wanting more of them.
MOST_LISTED = 100


class Faults:
    """Stops at the first."""

    #: Whether the first fault ends the reading.
    at_once = True

    def tell(self, reason: str) -> None:
        """Raises Misconfigured with the reason: the file's name, what is wrong with it and what to do."""
        raise Misconfigured(reason)

    @contextmanager
    def told(self) -> Iterator[None]:
        """Tells what the block raises as Misconfigured: here it stays raised."""
        yield


class EveryFault(Faults):
    """Keeps them, each once; beyond `most` it only counts."""

    at_once = False

    def __init__(self, most: int = MOST_LISTED) -> None:
        self._most = most
        self._seen: set[int] = set()
        #: In the order in which they were met.
        self.reasons: list[str] = []
        #: How many there are beyond `reasons`.
        self.more = 0

    def tell(self, reason: str) -> None:
        """Keeps a reason."""
        if hash(reason) in self._seen:
            return
        self._seen.add(hash(reason))
        if len(self.reasons) < self._most:
            self.reasons.append(reason)
        else:
            self.more += 1

    @contextmanager
    def told(self) -> Iterator[None]:
        """Keeps what the block raises as Misconfigured."""
        try:
            yield
        except Misconfigured as error:
            self.tell(str(error))
