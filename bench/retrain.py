"""Many small trainings on one core: a worker's process that does many of them beside a process for each.

flfleet bench retrain [--runs N] [--json]

All of it is the product's own: trainings in a ledger, hints through a broker, a Celery worker of one process, that trains as many at once as fit
into a stack, or (FLFLEET_STACK_PARAMETERS=0) one after the other. The rivals differ in one thing, how long that process lives: `--max-tasks-per-child 1` makes it one a training, as do systems that start a process or a container
for every run; the last row starts an interpreter for every training, without a broker.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from bench.broker import own_broker
from cli.homes import NewMiner, create_fleet_home
from pipeline.learning.data.digits import write_digits
from pipeline.protocol.signing import SecretKey
from pipeline.protocol.task import Architecture, Task
from pipeline.settings import load
from pipeline.stores.artifacts import ArtifactStore
from pipeline.stores.fleet.ledger import RunLedger
from pipeline.stores.fleet.retraining_records import UNFINISHED, Turn
from tasks.app import RETRAIN

#: A small network on 28 x 28 images, and few of them: where the price of a process shows.
ARCHITECTURE = Architecture(name="mlp", kwargs={"in_features": 784, "hidden": 32, "num_classes": 10})
SAMPLES = 200
_WARM = 3
_LONGEST_SECONDS = 600.0
_PUBLISHER, _AGGREGATOR = SecretKey(b"\x01" * 32), SecretKey(b"\x02" * 32)
_ONE = "from tasks.app import app; app.loader.import_default_modules(); app.tasks['flfleet.retrain'].apply()"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One way to do it."""

    name: str
    runs: int
    seconds: float
    #: Of the workers, or interpreters, all their processes together; what else the machine does does not count.
    processor_seconds: float

    @property
    def per_minute(self) -> float:
        """Trainings a minute."""
        return 60 * self.runs / self.seconds

    def as_json(self) -> dict[str, Any]:
        """The object of `--json`."""
        milliseconds = round(1000 * self.processor_seconds / self.runs, 2)
        return {
            "name": self.name,
            "runs": self.runs,
            "perMinute": round(self.per_minute, 1),
            "processorMilliseconds": milliseconds,
        }


def measure(runs: int, say: Callable[[str], None]) -> list[Row]:
    """Trainings a minute of each way; the slow ones are given fewer."""
    with (
        tempfile.TemporaryDirectory(prefix="flfleet-bench-") as folder,
        own_broker(Path(folder)),
        closing(_Bench(Path(folder))) as bench,
    ):
        few = max(runs // 40, 5)
        rows = [
            bench.through_a_worker("one warm process, stacked", runs, stack=True),
            bench.through_a_worker("one warm process", runs),
            bench.through_a_worker("a process a run, forked", few, "--max-tasks-per-child", "1"),
            bench.interpreters("an interpreter a run", few),
        ]
        for row in rows:
            say(
                f"{row.name}: {row.per_minute:.0f} trainings a minute ({row.runs} in {row.seconds:.1f} s), "
                f"{row.as_json()['processorMilliseconds']:.1f} ms of a processor each"
            )
    return rows


class _Bench:
    """A home with one identity, a data set of digits, and tasks of equal shape."""

    def __init__(self, home: Path) -> None:
        self.home = home
        (self.address,) = create_fleet_home(home, [NewMiner(name="bench", data=Path("data/bench"))], None)
        write_digits(home / "data", ["bench"], SAMPLES, None, 0)
        self.settings = load(home)
        self.ledger = RunLedger.open(self.settings)
        self.model = self._write_model()
        self.number = 0
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("FLFLEET_")},
            "FLFLEET_HOME": str(home),
            "FLFLEET_POOL": "train",
            "OMP_NUM_THREADS": "1",
        }

    def close(self) -> None:
        """Gives the ledger's connections back."""
        self.ledger.close()

    def through_a_worker(self, name: str, runs: int, *options: str, stack: bool = False) -> Row:
        """So many trainings in a Celery worker of one process, which is warm when the clock starts."""
        with self._worker(options, stack) as pid:
            self._until_through(_WARM)
            before = _processor_seconds(pid)
            seconds = self._until_through(runs)
            return Row(name=name, runs=runs, seconds=seconds, processor_seconds=_processor_seconds(pid) - before)

    def interpreters(self, name: str, runs: int) -> Row:
        """So many interpreters, one after the other, each for one training."""
        self._enqueue(runs)
        begun, before = time.monotonic(), _of_children()
        for _ in range(runs):
            subprocess.run([sys.executable, "-c", _ONE], env=self.environment, check=True, capture_output=True)
        return Row(name=name, runs=runs, seconds=self._checked(begun), processor_seconds=_of_children() - before)

    def _until_through(self, runs: int) -> float:
        from tasks.retraining import MOST_HINTS, retrain_next

        self._enqueue(runs)
        begun = time.monotonic()
        for _ in range(min(runs, MOST_HINTS)):  # the sweep's part
            retrain_next.apply_async()
        while any(self.ledger.retraining_counts().get(state) for state in UNFINISHED):
            if time.monotonic() - begun > _LONGEST_SECONDS:
                raise TimeoutError(f"not through after {_LONGEST_SECONDS:.0f} s")
            time.sleep(0.02)
        return self._checked(begun)

    def _checked(self, begun: float) -> float:
        seconds = time.monotonic() - begun
        counts = self.ledger.retraining_counts()
        if set(counts) != {Turn.DONE}:
            errors = {row.error for row in self.ledger.retrainings() if row.state is not Turn.DONE}
            raise RuntimeError(f"{counts}: {errors}")
        return seconds

    def _enqueue(self, runs: int) -> None:
        for _ in range(runs):
            self.number = self.number + 1
            task = Task.from_document(self._document(f"bench-{self.number}"))
            assert self.ledger.add_run(task, self.address, "bench", max_submissions=10**9)
            for _chunk in self.ledger.add_retrainings(batch="bench", priority=5, task_ids=[task.task_id]):
                pass

    @contextmanager
    def _worker(self, options: tuple[str, ...], stack: bool) -> Iterator[int]:
        """Its process id."""
        command = [sys.executable, "-m", "celery", "-A", "tasks.app", "worker", "-Q", RETRAIN, "-c", "1"]
        silent = ["--without-mingle", "--without-gossip", "--without-heartbeat", "--loglevel", "ERROR"]
        with (self.home / "worker.log").open("a") as log:
            environment = self.environment | ({} if stack else {"FLFLEET_STACK_PARAMETERS": "0"})
            process = subprocess.Popen([*command, *silent, *options], env=environment, stdout=log, stderr=log)
        try:
            yield process.pid
        finally:
            process.terminate()
            process.wait(timeout=30)

    def _write_model(self) -> str:
        from pipeline.learning.models.architectures import build
        from pipeline.learning.models.model_file import write_model

        module = build(ARCHITECTURE)
        self.dimension = sum(value.numel() for value in module.state_dict().values() if value.is_floating_point())
        store = ArtifactStore(self.settings.artifacts, self.settings.cache / "scratch")
        return store.put(write_model(module.state_dict(), ARCHITECTURE))

    def _document(self, task_id: str) -> dict[str, Any]:
        return {
            "protocol": "ndd-fe/1",
            "taskID": task_id,
            "round": 1,
            "dataset": "mnist",
            "dimension": self.dimension,
            "modelURL": "http://127.0.0.1:1/models/m",
            "modelSHA256": "0x" + self.model,
            "architecture": {"name": ARCHITECTURE.name, "kwargs": ARCHITECTURE.kwargs},
            "training": {"epochs": 1, "batchSize": 32, "learningRate": 0.05},
            "aggregatorPublicKey": _AGGREGATOR.public_key,
            "tpPublicKey": _PUBLISHER.public_key,
            "aggregatorURL": "http://127.0.0.1:1",
            "publisherURL": "http://127.0.0.1:1",
            "miners": [self.address],
            "minMiners": 1,
            "maxMiners": 5,
            "compression": {"ratio": 0.1},
            "quantization": {"scale": 50, "clip": 0.06, "pack": 5},
            "publishedAt": int(time.time()),
            "timeout": 86400,
        }


def _processor_seconds(pid: int) -> float:
    """Of a process and of all that it started, those that have ended included."""
    worker = psutil.Process(pid)
    return sum(sum(process.cpu_times()[:4]) for process in (worker, *worker.children(recursive=True)))


def _of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
