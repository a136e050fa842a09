"""What can go wrong, and who has to act.

    FleetError
    ├── Retryable       nobody: it may work later (backs off until the task's deadline)
    ├── Rejected        the other side: final, with the reason
    │   ├── Malformed       bytes that are not what PROTOCOL says
    │   ├── BadSignature    a signature that is not the named party's
    │   └── BadProof        a proof of encryption or a mask check that fails
    ├── Misconfigured   the operator: the message says what to set
    └── Corrupt         the artifact store: bytes that are not those of their digest

Every message is for a person: what was expected, what was found, what to do. Library errors are mapped to these at one place,
the module that calls the library.
"""

from collections.abc import Sequence


class FleetError(Exception):
    """Anything that flfleet raises on purpose."""


class Retryable(FleetError):
    """It may work later. `retry_after` is the other side's own wish in seconds, if it named one."""

    def __init__(self, reason: str, *, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class Rejected(FleetError):
    """The other side is at fault and repeating will not help. `reasons` holds every reason that was found."""

    def __init__(self, *reasons: str) -> None:
        super().__init__("; ".join(reasons))
        self.reasons: Sequence[str] = reasons


class Malformed(Rejected):
    """Bytes from outside that do not decode."""


class BadSignature(Rejected):
    """A signature that does not recover to the party that it names."""


class BadProof(Rejected):
    """A proof of encryption, or a mask check, that does not hold."""


class Misconfigured(FleetError):
    """The operator's to mend; the message names the setting or the file."""


class Corrupt(FleetError):
    """Stored bytes that differ from their digest: never used, made again from their inputs."""
