"""A snapshot in Prometheus' words. Counters come from the ledger, so they go on where they were after every restart.

Label values are this fleet's own: stages, pools, its identities, its data sets, its workers. Nothing that another party invents
becomes a series.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from network.snapshot import POOLS, Observer, Snapshot
from pipeline.errors import Retryable
from pipeline.stores.fleet.records import OPEN, Run, Stage, State
from pipeline.stores.fleet.stats import epochs_of


class FleetCollector(Collector):
    """What is scraped: each scrape is one look."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    def collect(self) -> Iterable[Metric]:
        """Every family; of a ledger that is away only that it is."""
        try:
            seen = self._observer.look()
        except Retryable:
            return [_gauge("flfleet_ledger_up", "Whether the ledger answers", [], [((), 0)])]
        return families(seen)


def families(seen: Snapshot) -> list[Metric]:
    """Every family, those without a value too: their names and types are known from the first scrape on."""
    up = _gauge("flfleet_ledger_up", "Whether the ledger answers", [], [((), 1)])
    return [up, *_runs(seen), *_stages(seen), *_events(seen), *_queues(seen), *_training(seen), *_workers(seen)]


def _runs(seen: Snapshot) -> Iterator[Metric]:
    # Every state has a series of its own from the start, or the first failure would be no increase.
    moving = [((state, stage), seen.count(state, stage=stage)) for state in OPEN for stage in Stage]
    ended = [((state, ""), seen.count(state)) for state in State if state not in OPEN]
    yield _gauge(
        "flfleet_runs",
        "Runs by state; of those that move by the stage that is due",
        ["state", "stage"],
        [*moving, *ended],
    )
    yield _gauge("flfleet_refused_tasks", "Tasks that were refused lately", [], [((), len(seen.refusals))])
    paid: defaultdict[str, float] = defaultdict(float)
    for reward in seen.rewards:
        paid[reward.miner] += reward.share / reward.total if reward.total else 0.0
    yield _gauge(
        "flfleet_reward_shares",
        "Shares of settled rounds, summed",
        ["miner"],
        [((miner,), share) for miner, share in paid.items()],
    )


def _stages(seen: Snapshot) -> Iterator[Metric]:
    durations = HistogramMetricFamily(
        "flfleet_stage_seconds", "Seconds from claim to commit of a stage", labels=["stage"]
    )
    for stage, times in seen.times.items():
        durations.add_metric([stage], [(bound, float(count)) for bound, count in times.buckets.items()], times.seconds)
    done = {stage: times.count for stage, times in seen.times.items()}
    yield _counter(
        "flfleet_stage_runs",
        "Stages that were committed",
        ["stage"],
        [((stage,), done.get(stage, 0)) for stage in Stage],
    )
    yield durations
    coordinates = [((stage,), speed.coordinates) for stage, speed in seen.speeds.items()]
    yield _gauge(
        "flfleet_stage_coordinates_per_second",
        "Coordinates a second of the stage's own time, over 15 minutes",
        ["stage"],
        coordinates,
    )
    speeds = [((stage,), speed.bytes) for stage, speed in seen.speeds.items()]
    yield _gauge(
        "flfleet_stage_bytes_per_second", "Bytes a second of the stage's own time, over 15 minutes", ["stage"], speeds
    )


#: Every reason that the ledger counts.
_FAILURES = ("retryable", "error", "rejected", "misconfigured", "damaged", "expired")
_LOSSES = ("expired", "process gone")
_REDRIVES = ("worker lost", "wait over", "message lost")


def _events(seen: Snapshot) -> Iterator[Metric]:
    events = seen.events
    yield _counted(
        "flfleet_stage_failures", "Attempts of a stage that ended without a commit", _FAILURES, events.failures
    )
    yield _counted("flfleet_leases_lost", "Claims whose worker ended without a word", _LOSSES, events.leases_lost)
    yield _counted("flfleet_sweep_redrives", "Runs that the sweep sent on their way again", _REDRIVES, events.redriven)


def _counted(name: str, text: str, reasons: Iterable[str], found: Mapping[tuple[str, str], int]) -> Metric:
    zero = {(stage.value, reason): 0 for stage in Stage for reason in reasons}
    return _counter(name, text, ["stage", "reason"], (zero | dict(found)).items())


def _queues(seen: Snapshot) -> Iterator[Metric]:
    messages = seen.messages
    yield _gauge("flfleet_broker_up", "Whether the broker answers", [], [((), 0 if messages is None else 1)])
    depths = [((pool,), (messages or {}).get(pool)) for pool in POOLS]
    yield _gauge("flfleet_queue_messages", "Messages in a pool's queue at the broker", ["pool"], depths)
    waiting = {stage: seen.waiting.get(stage) for stage in Stage}
    counts = [((stage,), found.count if found else 0) for stage, found in waiting.items()]
    yield _gauge("flfleet_queue_runs", "Runs in the ledger that wait for a worker of the pool", ["pool"], counts)
    ages = [((stage,), max(seen.at - found.since, 0.0) if found else 0.0) for stage, found in waiting.items()]
    yield _gauge("flfleet_queue_oldest_seconds", "Seconds that the first of them has waited", ["pool"], ages)


def _training(seen: Snapshot) -> Iterator[Metric]:
    loss: dict[tuple[str, ...], float] = {}
    accuracy: dict[tuple[str, ...], float] = {}
    for run in seen.trained:  # oldest first: the newest of each miner and data set stays
        key = (run.dataset, run.miner_name)
        if epochs := list(epochs_of(run)):
            loss[key] = epochs[-1]["loss"]
        if isinstance(value := run.figures.get("accuracy"), float):
            accuracy[key] = value
    used: dict[tuple[str, ...], float] = {}
    total: dict[tuple[str, ...], float] = {}
    for run in training(seen):
        if isinstance(value := run.progress.get("loss"), float):
            loss[run.dataset, run.miner_name] = value
        memory = run.progress.get("gpuMemory")
        if isinstance(memory, dict):
            place = (host_of(run), str(memory.get("device", "")))
            used[place], total[place] = float(memory.get("used", 0)), float(memory.get("total", 0))
    labels = ["dataset", "miner"]
    yield _gauge("flfleet_training_loss", "Loss of the newest epoch", labels, loss.items())
    yield _gauge(
        "flfleet_training_accuracy", "Accuracy on held-back data after the newest training", labels, accuracy.items()
    )
    where = ["host", "device"]
    yield _gauge(
        "flfleet_gpu_memory_used_bytes", "Memory in use on a GPU that trains, all processes", where, used.items()
    )
    yield _gauge("flfleet_gpu_memory_total_bytes", "Memory of a GPU that trains", where, total.items())


def _workers(seen: Snapshot) -> Iterator[Metric]:
    labels = ["pool", "worker"]
    last = [((worker.pool, worker.name), worker.seen_at) for worker in seen.workers]
    yield _gauge("flfleet_worker_seen_timestamp_seconds", "When a worker last said that it is there", labels, last)
    processes = [((worker.pool, worker.name), worker.processes) for worker in seen.workers]
    yield _gauge("flfleet_worker_processes", "Processes of a worker", labels, processes)


def training(seen: Snapshot) -> list[Run]:
    """The runs that train at this moment."""
    return [run for run in seen.running if run.stage is Stage.TRAIN]


def host_of(run: Run) -> str:
    """The host of the worker that has a run; of its owner's text the namespace of process ids is for machines."""
    return (run.owner or "").partition("|")[0].partition("[")[0]


def _gauge(name: str, text: str, labels: list[str], values: Iterable[tuple[tuple[Any, ...], float | None]]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for key, value in values:
        if value is not None:
            family.add_metric([str(part) for part in key], value)
    return family


def _counter(name: str, text: str, labels: list[str], values: Iterable[tuple[tuple[Any, ...], float]]) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for key, value in values:
        family.add_metric([str(part) for part in key], value)
    return family
