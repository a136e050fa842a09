"""Whether a miner runs a task: what docs/protocol.md, section 2 asks before anything is fetched, each refusal a sentence.

The rest is checked where the bytes come in: the model's digest and the support's bits, by the stage that fetches them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from pipeline.errors import BadSignature
from pipeline.protocol.task import Task


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The operator's floors and trust. Addresses are `0x` + lower-case hex."""

    trusted_publishers: frozenset[str]
    trusted_aggregators: frozenset[str]
    #: Miners known not to collude; this fleet's own count as known without standing here.
    known_miners: frozenset[str]
    #: Least minMiners - (unknown members of the roster).
    min_known_participants: int
    #: Least number of coordinates in a round's support.
    min_coordinates: int
    #: Submissions of one miner for one data set over one model.
    max_submissions_per_model: int
    max_dimension: int
    allow_unsigned_tasks: bool
    #: Whether there is an IPFS node or gateway to fetch from.
    has_ipfs: bool
    #: Largest epsilon that one training may spend; where set, a task must ask for differential privacy.
    max_epsilon: float | None = None


@dataclass(frozen=True, kw_only=True)
class Circumstances:
    """What the fleet knows about one task and one of its miners."""

    #: The miner that would run it.
    address: str
    #: Addresses of all identities of this fleet.
    own: frozenset[str]
    #: Folder in which the miner's data set would lie, for the message, and whether it is there.
    data_folder: str
    holds_dataset: bool
    #: Hash of the task that was seen first for this (taskID, round), if any.
    standing_task: str | None
    #: Other runs of this miner over the same data set and model that have sent an update, or may.
    submissions: int
    #: Unix seconds.
    now: float


def authenticity(task: Task, policy: Policy) -> list[str]:
    """Why the task is not a trusted publisher's; empty if it is. Only such a task takes its (taskID, round)."""
    found = []
    if not (policy.allow_unsigned_tasks and task.document.get("signature") is None):
        try:
            task.check_signature()
        except BadSignature as error:
            found.append(f"{error} (an unsigned task runs only with FLFLEET_ALLOW_UNSIGNED_TASKS)")
    if task.publisher_address not in policy.trusted_publishers:
        found.append(f"publisher {task.publisher_address} is not in FLFLEET_TRUSTED_PUBLISHERS")
    return found


def refusals(task: Task, policy: Policy, circumstances: Circumstances) -> list[str]:
    """Every reason for which this miner does not run the task; empty if it runs it."""
    return [
        *authenticity(task, policy),
        *_parties(task, policy),
        *_roster(task, policy, circumstances),
        *_sizes(task, policy),
        *_history(task, policy, circumstances),
    ]


def _parties(task: Task, policy: Policy) -> Iterator[str]:
    if task.aggregator_address not in policy.trusted_aggregators:
        yield f"aggregator {task.aggregator_address} is not in FLFLEET_TRUSTED_AGGREGATORS"
    # Points with one x coordinate are equal or opposite: who has the one's secret has the other's.
    if task.aggregator_key[1:] == task.publisher_key[1:]:
        yield "aggregatorPublicKey is tpPublicKey or its negative: one party could read every update alone"
    for name, address in (("aggregator", task.aggregator_address), ("publisher", task.publisher_address)):
        if address in task.roster:
            yield f"the {name}'s key {address} is in the roster: nobody may be two parties"
    for name, url in (("aggregatorURL", task.aggregator_url), ("modelURL", task.model_url)):
        if url is not None and not _is_http(url):
            yield f"{name} must be an http or https address, got {url[:80]!r}"
    if task.model_url is None and not policy.has_ipfs:
        yield "the model is on IPFS alone; set FLFLEET_IPFS_API or FLFLEET_IPFS_GATEWAYS"


def _roster(task: Task, policy: Policy, circumstances: Circumstances) -> Iterator[str]:
    if circumstances.address not in task.roster:
        yield f"{circumstances.address} is not in the task's roster (miners)"
    unknown = [
        address for address in task.roster if address not in circumstances.own and address not in policy.known_miners
    ]
    known = task.min_miners - len(unknown)
    if known < policy.min_known_participants:
        yield (
            f"{len(unknown)} of the {len(task.roster)} in the roster are not in FLFLEET_KNOWN_MINERS, so a round of "
            f"minMiners {task.min_miners} may hold {max(known, 0)} known ones; FLFLEET_MIN_KNOWN_PARTICIPANTS asks for "
            f"{policy.min_known_participants}, so that colluders cannot subtract their parts and read the rest"
        )


def _sizes(task: Task, policy: Policy) -> Iterator[str]:
    if task.dimension > policy.max_dimension:
        yield f"dimension {task.dimension} is above FLFLEET_MAX_DIMENSION {policy.max_dimension}"
    if policy.max_epsilon is not None and task.training.dp is None:
        yield f"training has no dp; FLFLEET_MAX_EPSILON is {policy.max_epsilon:g}, so only private trainings run"
    if task.support is None and task.dimension < policy.min_coordinates:
        yield f"{task.dimension} coordinates are fewer than FLFLEET_MIN_COORDINATES {policy.min_coordinates}"


def _history(task: Task, policy: Policy, circumstances: Circumstances) -> Iterator[str]:
    if circumstances.now >= task.deadline:
        yield f"expired: submissions closed {circumstances.now - task.deadline:.0f} s ago"
    if not circumstances.holds_dataset:
        yield f"data set {task.dataset!r} is not held: no folder {circumstances.data_folder}"
    if circumstances.standing_task not in (None, task.task_hash):
        yield f"another task of ({task.task_id}, round {task.round}) was seen before: {circumstances.standing_task}"
    if circumstances.submissions >= policy.max_submissions_per_model:
        yield (
            f"{circumstances.submissions} submission(s) over this model and data set already; two sums over one model can "
            f"give a miner away (FLFLEET_MAX_SUBMISSIONS_PER_MODEL is {policy.max_submissions_per_model})"
        )


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)
