"""A snapshot as the fleet page and /state show it: plain JSON values, nothing that a template has to compute."""

from collections import defaultdict
from typing import Any

from network.metrics import host_of
from network.snapshot import POOLS, Snapshot
from pipeline.stores.fleet.records import Refusal, Run, Stage, State, WorkerSeen
from pipeline.stores.fleet.stats import FAILED, epochs_of

#: A worker says every ten seconds that it is there; so long silent it is taken for away.
SILENT_SECONDS = 60.0
#: Tasks whose curves are shown, the newest ones.
_MOST_CURVES = 4


def view(seen: Snapshot) -> dict[str, Any]:
    """Everything on the page."""
    return {
        "at": seen.at,
        "brokerUp": seen.messages is not None,
        "totals": {
            "running": seen.count(State.RUNNING),
            "queued": seen.count(State.QUEUED),
            "waiting": seen.count(State.WAITING),
            "accepted": seen.count(State.ACCEPTED),
            "failed": seen.count(*FAILED),
        },
        "pools": [_pool(seen, pool) for pool in POOLS],
        "running": [_run(seen, run) for run in seen.running],
        "curves": _curves(seen),
        "errors": [_run(seen, run) for run in seen.failed],
        "refusals": [_refusal(seen, refusal) for refusal in seen.refusals],
        "workers": [_worker(seen, worker) for worker in seen.workers],
        "rewards": _rewards(seen),
        "newest": [_run(seen, run) for run in reversed(seen.newest)],
    }


def _pool(seen: Snapshot, pool: str) -> dict[str, Any]:
    stage = Stage(pool) if pool in set(Stage) else None
    row: dict[str, Any] = {"pool": pool, "messages": (seen.messages or {}).get(pool), "isStage": stage is not None}
    if stage is None:
        return row
    waiting, times, speed = seen.waiting.get(stage), seen.times.get(stage), seen.speeds.get(stage)
    failures = sum(count for (name, _), count in seen.events.failures.items() if name == stage)
    return row | {
        "queued": waiting.count if waiting else 0,
        "oldestSeconds": max(seen.at - waiting.since, 0.0) if waiting else None,
        "running": seen.count(State.RUNNING, stage=stage),
        "waiting": seen.count(State.WAITING, stage=stage),
        "done": times.count if times else 0,
        "failures": failures,
        "meanSeconds": times.seconds / times.count if times and times.count else None,
        "coordinatesPerSecond": speed.coordinates if speed else None,
        "bytesPerSecond": speed.bytes if speed else None,
    }


def _run(seen: Snapshot, run: Run) -> dict[str, Any]:
    return {
        "runID": run.run_id,
        "taskID": run.task_id,
        "round": run.round,
        "miner": run.miner_name,
        "dataset": run.dataset,
        "state": run.state.value,
        "stage": run.stage.value if run.stage else None,
        "attempts": run.attempts,
        "retryIn": run.retry_in,
        "host": host_of(run) or None,
        "error": run.error,
        "epoch": _number(run.progress.get("epoch")),
        "epochs": _number(run.progress.get("epochs")),
        "loss": _number(run.progress.get("loss")),
        "updatedAt": run.updated_at,
        "ageSeconds": max(seen.at - run.updated_at, 0.0),
    }


def _curves(seen: Snapshot) -> list[dict[str, Any]]:
    """Losses of every epoch by task, over its rounds; the newest task first."""
    losses: dict[str, defaultdict[str, list[float]]] = {}
    last: dict[tuple[str, str], Run] = {}
    for run in sorted(seen.trained, key=lambda run: (run.round, run.miner_name)):
        epochs = [epoch["loss"] for epoch in epochs_of(run) if isinstance(epoch.get("loss"), float)]
        losses.setdefault(run.task_id, defaultdict(list))[run.miner_name] += epochs
        last[run.task_id, run.miner_name] = run
    newest = {run.task_id: place for place, run in enumerate(seen.trained)}
    return [
        {
            "taskID": task_id,
            "dataset": next(run.dataset for (name, _), run in last.items() if name == task_id),
            "losses": dict(losses[task_id]),
            "accuracies": {
                miner: _number(run.figures.get("accuracy")) for (name, miner), run in last.items() if name == task_id
            },
            "devices": {miner: run.figures.get("device") for (name, miner), run in last.items() if name == task_id},
        }
        for task_id in sorted(losses, key=lambda task_id: -newest[task_id])[:_MOST_CURVES]
    ]


def _refusal(seen: Snapshot, refusal: Refusal) -> dict[str, Any]:
    return {
        "taskID": refusal.task_id,
        "round": refusal.round,
        "miner": refusal.miner,
        "reasons": list(refusal.reasons),
        "at": refusal.created_at,
        "ageSeconds": max(seen.at - refusal.created_at, 0.0),
    }


def _worker(seen: Snapshot, worker: WorkerSeen) -> dict[str, Any]:
    return {
        "name": worker.name,
        "pool": worker.pool,
        "host": worker.host,
        "processes": worker.processes,
        "devices": list(worker.devices),
        "startedAt": worker.started_at,
        "seenSeconds": max(seen.at - worker.seen_at, 0.0),
        "isSilent": seen.at - worker.seen_at > SILENT_SECONDS,
    }


def _rewards(seen: Snapshot) -> list[dict[str, Any]]:
    """By identity: how many rounds paid, the newest share, and all of them together."""
    names = {run.miner: run.miner_name for run in [*seen.trained, *seen.newest]}
    by_miner: defaultdict[str, list[Any]] = defaultdict(list)
    for reward in sorted(seen.rewards, key=lambda reward: reward.settled_at):
        by_miner[reward.miner].append(reward)
    return [
        {
            "miner": names.get(miner, miner),
            "address": miner,
            "rounds": len(paid),
            "newestTask": paid[-1].task_id,
            "newestRound": paid[-1].round,
            "newestShare": _share(paid[-1]),
            "sum": sum(_share(reward) for reward in paid),
        }
        for miner, paid in sorted(by_miner.items(), key=lambda item: names.get(item[0], item[0]))
    ]


def _share(reward: Any) -> float:
    return reward.share / reward.total if reward.total else 0.0


def _number(value: Any) -> float | int | None:
    """Progress is a stage's own words; what is no number is not shown as one."""
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
