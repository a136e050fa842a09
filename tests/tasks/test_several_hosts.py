"""A fleet on several hosts: network namespaces stand for them. A partition cuts a worker off in the middle of a stage, and heals.

hub 10.77.0.1   broker, PostgreSQL, sweeper       one, two 10.77.0.2, .3   a worker each, with host name and pids of its own
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cli.broker import _server
from pipeline.stages.contract import Stage
from tests.worker_fleet import ROOT, lines, wait_until
from tests.worker_fleet import environment as environment

pytestmark = [pytest.mark.services, pytest.mark.namespaces, pytest.mark.slow]

HUB, HOSTS = "10.77.0.1", {"one": "10.77.0.2", "two": "10.77.0.3"}
BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
SLOW = """
import os, socket, time
from pipeline.stages.contract import Output

def run(job):
    with open(os.environ["TRIVIAL_LOG"], "a") as file:
        file.write("train %s %s\\n" % (job.run_id, socket.gethostname()))
    # On the first host it trains until it learns that the run is another's.
    for number in range(1200 if os.environ["FLFLEET_POOL"] == "one" else 1):
        job.report({"epoch": number})
        time.sleep(0.1)
    return Output()
"""
#: Runs in the hub: asks the ledger, for the test, which stands outside of every namespace.
ASK = """
import json, sys
from pipeline.stores.db.engine import open_database
from pipeline.stores.fleet.ledger import RunLedger
from tests.signed_tasks import MINERS, make_task

ledger = RunLedger(open_database(sys.argv[1]), lease_seconds=3.0)
if sys.argv[2] == "add":
    print(ledger.add_run(make_task(), MINERS[0].address, "miner"))
else:
    run = ledger.run(sys.argv[3])
    print(json.dumps({"state": run.state, "attempts": run.attempts, "error": run.error, "owner": run.owner}))
"""

#: Beat's part.
BEAT = """
import sys, time
from celery import Celery
beat = Celery(broker=sys.argv[1], set_as_current=False)
while True:
    beat.send_task("flfleet.sweep", queue="control", expires=1, ignore_result=True)
    time.sleep(0.5)
"""


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


def inside(host: str, *command: str) -> list[str]:
    return ["ip", "netns", "exec", f"flf-{host}", *command]


@pytest.fixture
def hosts() -> Iterator[None]:
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and iproute2")
    try:
        ip("netns", "add", "flf-hub")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"network namespaces cannot be made here: {error.stderr.strip()}")
    try:
        ip("-n", "flf-hub", "link", "add", "bridge", "type", "bridge")
        ip("-n", "flf-hub", "addr", "add", f"{HUB}/24", "dev", "bridge")
        for link in ("bridge", "lo"):
            ip("-n", "flf-hub", "link", "set", link, "up")
        for host, address in HOSTS.items():
            ip("netns", "add", f"flf-{host}")
            ip("-n", "flf-hub", "link", "add", host, "type", "veth", "peer", "name", "uplink", "netns", f"flf-{host}")
            ip("-n", "flf-hub", "link", "set", host, "master", "bridge", "up")
            ip("-n", f"flf-{host}", "addr", "add", f"{address}/24", "dev", "uplink")
            for link in ("uplink", "lo"):
                ip("-n", f"flf-{host}", "link", "set", link, "up")
        yield
    finally:
        for host in ("hub", *HOSTS):
            subprocess.run(["ip", "netns", "del", f"flf-{host}"], check=False, capture_output=True)


@contextmanager
def running(command: list[str], out: Path, ends_by: signal.Signals = signal.SIGTERM, **options: Any) -> Iterator[None]:
    with out.open("w") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=sink, cwd=ROOT, **options)
    try:
        yield
    finally:
        process.send_signal(ends_by)
        process.wait(20)


@pytest.fixture
def ledger_url(hosts, tmp_path) -> Iterator[str]:
    """PostgreSQL in the hub, as a user without rights."""
    if not BINARIES:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    as_postgres = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"]
    with tempfile.TemporaryDirectory() as folder:
        shutil.chown(folder, "postgres")
        data = f"{folder}/data"
        make = [*as_postgres, f"{BINARIES[-1]}/initdb", "-D", data, "-U", "flfleet", "-A", "trust", "--no-sync"]
        subprocess.run(make, check=True, capture_output=True, cwd="/")
        with Path(data, "pg_hba.conf").open("a") as rules:
            rules.write("host all all 10.77.0.0/24 trust\n")
        server = [f"{BINARIES[-1]}/postgres", "-D", data, "-c", f"listen_addresses={HUB}"]
        command = inside("hub", *as_postgres, *server, "-c", "unix_socket_directories=")
        with running(command, tmp_path / "postgres.out", signal.SIGINT):
            yield f"postgresql+psycopg://flfleet@{HUB}/postgres"


@pytest.fixture
def broker(hosts, tmp_path) -> Iterator[str]:
    """Valkey in the hub."""
    command = [_server(), "--bind", HUB, "--port", "6379", "--protected-mode", "no", "--save", ""]
    with running(inside("hub", *command), tmp_path / "valkey.out"):
        yield f"redis://{HUB}:6379/0"


def worker(host: str, environment: dict[str, str], out: Path) -> Any:
    """A worker on a host: with a name, and process numbers, of its own."""
    celery = [sys.executable, "-m", "celery", "-A", "trivial_fleet", "worker", "-Q", ",".join([*Stage, "control"])]
    named = ["sh", "-c", f'hostname {host}; exec "$@"', "sh", *celery, "-c", "2", "-n", host, "-l", "INFO"]
    alone = ["unshare", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
    settings = environment | {"FLFLEET_POOL": host}
    return running(inside(host, *alone, *named), out, signal.SIGKILL, env=settings)


@pytest.mark.timeout(300)
def test_a_partition_costs_no_run_and_doubles_none(broker, ledger_url, environment, tmp_path):
    (tmp_path / "stages/train.py").write_text(SLOW)

    def ask(*words: str) -> str:
        command = inside("hub", sys.executable, "-c", ASK, ledger_url, *words)
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    asked: list[str] = []
    wait_until(lambda: asked.append(ask("add")) or asked[-1], 30)  # once PostgreSQL is up
    run_id = asked[-1]

    def run() -> dict[str, Any]:
        return json.loads(ask("show", run_id))

    beat = running(inside("hub", sys.executable, "-c", BEAT, broker), tmp_path / "beat.out")
    with beat, worker("one", environment, tmp_path / "one.out"):
        wait_until(lambda: lines(tmp_path, "train"), 60)
        ip("-n", "flf-hub", "link", "set", "one", "down")
        with worker("two", environment, tmp_path / "two.out"):
            wait_until(lambda: run()["state"] == "accepted", 90)
            assert [line[2] for line in lines(tmp_path, "train")] == ["one", "two"]
            assert "fenced" not in (tmp_path / "one.out").read_text()
            ip("-n", "flf-hub", "link", "set", "one", "up")
            # The one that was cut off learns that its run is another's, and writes nothing.
            wait_until(lambda: "fenced" in (tmp_path / "one.out").read_text(), 90)
            assert run()["state"] == "accepted"
    assert len(lines(tmp_path, "sent")) == 1
