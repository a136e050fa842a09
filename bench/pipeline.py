"""What the promise costs: the seven stages with trivial work beside a bare seven-stage Celery chain, on one broker, in one run.

Both have as many processes, Redis as broker, JSON, no result backend, nobody who watches their events, and log errors only
(the fleet's own log lines are written). The bare chain has Celery's own settings otherwise: it acknowledges a message before
its work, which is what loses runs. In both the clock runs from the first message that is sent; the fleet's includes making the
runs in the ledger. Tasks are made before: to read them from the board is the poll's work.

flfleet bench pipeline [--runs N] [--queued 10,100,1000,5000] [--json]
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import redis

from bench import bare_chain
from bench.broker import own_broker
from cli.homes import NewMiner, create_fleet_home
from pipeline.protocol.signing import SecretKey
from pipeline.protocol.task import Task
from pipeline.settings import Settings, load
from pipeline.stages.contract import Stage
from pipeline.stores.fleet.ledger import RunLedger
from pipeline.stores.fleet.records import State
from tasks.chain import start

#: Processes of each of the two workers.
PROCESSES = 2
REPEATS = 5
_WARM = 20
_LONGEST_SECONDS = 600.0
_PUBLISHER, _AGGREGATOR = SecretKey(b"\x01" * 32), SecretKey(b"\x02" * 32)


@dataclass(frozen=True, kw_only=True)
class Backlog:
    """What a run costs while so many are queued."""

    queued: int
    #: Wall milliseconds a stage, over the first stages that were committed.
    ms_per_stage: float
    #: Of one sweep over the whole ledger.
    sweep_ms: float


@dataclass(frozen=True, kw_only=True)
class Result:
    """Chains a second, and their ratio in the median of the repeats."""

    bare_per_second: float
    fleet_per_second: float
    ratio: float
    #: Of every repeat.
    ratios: Sequence[float]
    #: Processor milliseconds of the workers a chain: what others on the machine disturb less.
    bare_cpu_ms: float
    fleet_cpu_ms: float
    backlogs: Sequence[Backlog]


def measure(runs: int, queued: Sequence[int], say: Callable[[str], None]) -> Result:
    """Measures in turns, so that both meet the same noise."""
    with tempfile.TemporaryDirectory(prefix="flfleet-bench-") as folder, ExitStack() as stack:
        stack.enter_context(own_broker(Path(folder)))
        bench = stack.enter_context(closing(_Bench(Path(folder))))
        ratios, bare, fleet = list[float](), list[float](), list[float]()
        cpu: tuple[list[float], list[float]] = ([], [])
        with (
            bench.worker("bench.bare_chain", bare_chain.STAGES) as bare_worker,
            bench.worker("bench.trivial_fleet", list(Stage)) as fleet_worker,
        ):
            bench.bare(_WARM)
            bench.fleet(_WARM)
            for _ in range(REPEATS):
                before = _cpu_seconds(bare_worker), _cpu_seconds(fleet_worker)
                bare.append(runs / bench.bare(runs))
                cpu[0].append(1000 * (_cpu_seconds(bare_worker) - before[0]) / runs)
                fleet.append(runs / bench.fleet(runs))
                cpu[1].append(1000 * (_cpu_seconds(fleet_worker) - before[1]) / runs)
                ratios.append(fleet[-1] / bare[-1])
                say(f"bare {bare[-1]:.0f} chains/s, fleet {fleet[-1]:.0f} runs/s, {ratios[-1]:.0%}")
        backlogs = []
        for count in queued:
            backlogs.append(bench.backlog(count))
            say(f"{count} queued: {backlogs[-1].ms_per_stage:.1f} ms a stage, a sweep {backlogs[-1].sweep_ms:.1f} ms")
    return Result(
        bare_per_second=median(bare),
        fleet_per_second=median(fleet),
        ratio=median(ratios),
        ratios=ratios,
        bare_cpu_ms=median(cpu[0]),
        fleet_cpu_ms=median(cpu[1]),
        backlogs=backlogs,
    )


def as_json(result: Result) -> dict[str, Any]:
    """The object of `--json`."""
    return {
        "barePerSecond": round(result.bare_per_second, 1),
        "fleetPerSecond": round(result.fleet_per_second, 1),
        "ratio": round(result.ratio, 3),
        "ratioMin": round(min(result.ratios), 3),
        "ratioMax": round(max(result.ratios), 3),
        "cpuRatio": round(result.bare_cpu_ms / result.fleet_cpu_ms, 3),
        "bareCpuMs": round(result.bare_cpu_ms, 1),
        "fleetCpuMs": round(result.fleet_cpu_ms, 1),
        "backlogs": [
            {
                "queued": one.queued,
                "msPerStage": round(one.ms_per_stage, 2),
                "sweepMs": round(one.sweep_ms, 2),
            }
            for one in result.backlogs
        ],
    }


class _Bench:
    """A home with one identity, its broker and its ledger."""

    def __init__(self, home: Path) -> None:
        self.home = home
        (self.address,) = create_fleet_home(home, [NewMiner(name="bench", data=Path("data"))], None)
        self.settings: Settings = load(home)
        self.ledger = RunLedger.open(self.settings)
        self.number = 0
        self.broker = redis.Redis.from_url(self.settings.broker)

    def close(self) -> None:
        """Gives the connections back."""
        self.broker.close()
        self.ledger.close()

    @contextmanager
    def worker(self, app: str, queues: Sequence[str]) -> Iterator[psutil.Process]:
        """A worker over the queues until the block ends."""
        command = [sys.executable, "-m", "celery", "-A", app, "worker", "-Q", ",".join(queues), "-n", f"{app}@%h"]
        options = ["-c", str(PROCESSES), "--without-mingle", "--without-gossip", "--loglevel", "ERROR"]
        environment = {**os.environ, "FLFLEET_HOME": str(self.home), "FLFLEET_POOL": app, "OMP_NUM_THREADS": "1"}
        with (self.home / f"{app}.log").open("w") as log:
            process = subprocess.Popen([*command, *options], env=environment, stdout=log, stderr=log)
        try:
            yield psutil.Process(process.pid)
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def bare(self, count: int) -> float:
        """Seconds from the first chain that is sent to the last that is through."""
        bare_chain.app.conf.update(broker_url=self.settings.broker)
        self.broker.delete(bare_chain.DONE)
        begun = time.monotonic()
        for number in range(count):
            bare_chain.send(number)
        _wait_until(lambda: int(self.broker.get(bare_chain.DONE) or 0) >= count)
        return time.monotonic() - begun

    def fleet(self, count: int) -> float:
        """The same with runs: each is made in the ledger and sent on its way, as a poll does it."""
        before, tasks = self._accepted(), list(self._tasks(count))
        begun = time.monotonic()
        for task in tasks:
            run_id = self.ledger.add_run(task, self.address, "bench", max_submissions=10**9)
            assert run_id is not None
            start(run_id, Stage.FETCH, 0)
        _wait_until(lambda: self._accepted() - before >= count)
        return time.monotonic() - begun

    def backlog(self, count: int) -> Backlog:
        """What the first stages cost while `count` runs are queued."""
        for task in self._tasks(count):
            run_id = self.ledger.add_run(task, self.address, "bench", max_submissions=10**9)
            assert run_id is not None
            start(run_id, Stage.FETCH, 0)
        sweeps = []
        for _ in range(5):
            begun = time.monotonic()
            self.ledger.due_for_sweep(idle_seconds=10**6, depths={})
            sweeps.append(time.monotonic() - begun)
        wanted = min(7 * count, 1400)
        with self.worker("bench.trivial_fleet", list(Stage)):
            before = self._committed()
            _wait_until(lambda: self._committed() > before)
            begun, first = time.monotonic(), self._committed()
            _wait_until(lambda: self._committed() - before >= wanted)
            seconds, done = time.monotonic() - begun, self._committed() - first
        self._forget()
        return Backlog(queued=count, ms_per_stage=1000 * seconds / max(done, 1), sweep_ms=1000 * median(sweeps))

    def _forget(self) -> None:
        """Drops what is left, from ledger and broker."""
        self.broker.flushall()
        for run in self.ledger.runs(states=(State.QUEUED, State.RUNNING, State.WAITING)):
            self.ledger.drop(run.run_id)

    def _accepted(self) -> int:
        return self.ledger.counts().get((State.ACCEPTED, None), 0)

    def _committed(self) -> int:
        """Stages that are done, of all runs."""
        order: list[Stage | None] = [*Stage, None]
        return sum(order.index(stage) * number for (_state, stage), number in self.ledger.counts().items())

    def _tasks(self, count: int) -> Iterator[Task]:
        for _ in range(count):
            self.number += 1
            yield Task.from_document(_document(self.number, self.address))


def _cpu_seconds(worker: psutil.Process) -> float:
    """Of a worker's main process and its children."""
    times = [process.cpu_times() for process in (worker, *worker.children(recursive=True))]
    return float(sum(each.user + each.system for each in times))


def _wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + _LONGEST_SECONDS
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not through after {_LONGEST_SECONDS:.0f} s")
        time.sleep(0.02)


def _document(number: int, miner: str) -> dict[str, Any]:
    return {
        "protocol": "ndd-fe/1",
        "taskID": f"bench-{number}",
        "round": 1,
        "dataset": "none",
        "dimension": 5000,
        "modelURL": "http://127.0.0.1:1/models/m",
        # As in a fleet: a miner trains a model once.
        "modelSHA256": f"0x{number:064x}",
        "aggregatorPublicKey": _AGGREGATOR.public_key,
        "tpPublicKey": _PUBLISHER.public_key,
        "aggregatorURL": "http://127.0.0.1:1",
        "publisherURL": "http://127.0.0.1:1",
        "miners": [miner],
        "minMiners": 1,
        "maxMiners": 5,
        "compression": {"ratio": 0.1},
        "quantization": {"scale": 50, "clip": 0.06, "pack": 5},
        "publishedAt": int(time.time()),
        "timeout": 86400,
    }
