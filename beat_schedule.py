"""The whole timetable: what beat sends, how often, per role. Task names are strings; nothing of the product is imported."""

from typing import Any, Protocol


class Intervals(Protocol):
    """The settings that the timetable reads."""

    @property
    def roles(self) -> list[str]: ...  # noqa: D102
    @property
    def poll_seconds(self) -> float: ...  # noqa: D102
    @property
    def sweep_seconds(self) -> float: ...  # noqa: D102
    @property
    def prune_seconds(self) -> float: ...  # noqa: D102
    @property
    def verify_seconds(self) -> float: ...  # noqa: D102


#: role -> entry -> (task name, queue, the setting that says how often)
TIMETABLE: dict[str, dict[str, tuple[str, str, str]]] = {
    "miner": {
        "look for open tasks": ("flfleet.poll", "control", "poll_seconds"),
        "re-drive runs that nobody works on": ("flfleet.sweep", "control", "sweep_seconds"),
        "remove what nothing needs": ("flfleet.prune", "control", "prune_seconds"),
        "verify blocks, vote, reveal": ("flfleet.verify", "verify", "verify_seconds"),
    },
    "aggregator": {
        "adopt open tasks": ("flfleet.aggregate.adopt", "aggregate", "poll_seconds"),
        "close rounds, resume what stopped": ("flfleet.aggregate.tick", "aggregate", "sweep_seconds"),
        "remove what nobody is served any more": ("flfleet.aggregate.prune", "aggregate", "prune_seconds"),
    },
    "publisher": {
        "follow rounds, sign the next": ("flfleet.publish.follow", "publish", "poll_seconds"),
    },
}


def timetable(intervals: Intervals) -> dict[str, dict[str, Any]]:
    """Celery's `beat_schedule` for the roles of this home. A message that waits longer than its interval is dropped."""
    entries: dict[str, dict[str, Any]] = {}
    for role in intervals.roles:
        for entry, (task, queue, setting) in TIMETABLE.get(role, {}).items():
            seconds = float(getattr(intervals, setting))
            options = {"queue": queue, "expires": max(seconds, 1.0)}
            entries[entry] = {"task": task, "schedule": seconds, "options": options}
    return entries
