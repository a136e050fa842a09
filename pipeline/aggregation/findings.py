"""Every reason for a refusal, gathered before it is spoken: who sends bad bytes learns all of it at once."""

from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.errors import Rejected


class Findings:
    """Collects refusals; `raise_any` raises one that names them all."""

    def __init__(self) -> None:
        self._found: list[Rejected] = []

    @contextmanager
    def gather(self, where: str = "") -> Iterator[None]:
        """Notes what the block refuses, each reason led by `where`, and goes on behind it."""
        try:
            yield
        except Rejected as error:
            self._found.append(type(error)(*(where + reason for reason in error.reasons)))

    def require(self, holds: bool, reason: str, kind: type[Rejected] = Rejected) -> None:
        """Notes a reason unless it holds."""
        if not holds:
            self._found.append(kind(reason))

    def raise_any(self) -> None:
        """Raises Rejected, or the one kind that all findings are of; nothing where nothing was found."""
        if not self._found:
            return
        kinds = {type(error) for error in self._found}
        kind = kinds.pop() if len(kinds) == 1 else Rejected
        raise kind(*(reason for error in self._found for reason in error.reasons))
