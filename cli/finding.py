"""What `flfleet doctor` finds."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    #: ok, warning, or wrong (no task can run as it is).
    verdict: str
    #: What was found and, unless it is ok, what to do.
    text: str
