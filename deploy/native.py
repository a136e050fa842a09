"""Runs compose.yaml without a container engine, and a federated round over it: make test-deploy.

Every service of the profile `localnet` starts with the command, environment, secrets, mounts, user and read-only root that the file
gives it, in namespaces of its own (deploy/native_root.py), on loopback of a network that nobody else is in. Debian's redis-server
and PostgreSQL stand for those images; IPFS is left out. Then: every health check holds, the rounds come out as `flfleet demo` demands,
and every process ends within its grace period.

What it cannot say: whether the images build, and whether an engine cuts the networks as the file asks.

    python -m deploy.native --rounds 2 --json        Linux, root; redis-server, postgresql, iproute2, util-linux
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cli.composition import initialise_localnet
from cli.demo_check import Ledger, RoundResult, problems_of, read_rounds
from cli.up import interrupt_on_term
from deploy.compose_file import Service, in_order, read
from deploy.native_service import Running, Stage, stop
from pipeline.settings import load

ROOT = Path(__file__).parents[1]
MINERS = 5
#: Ten digits: chance is a tenth. Two rounds with nobody's fixed seed come out near 0.9.
LEAST_ACCURACY = 0.5
ROUND_SECONDS, START_SECONDS = 180.0, 240.0
#: Debian's programs do for these images; what is missing here is left out.
LEFT_OUT = ("ipfs",)
STORES = ("postgres", "redis")
NAMESPACES = ("unshare", "--net", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc")


def main() -> int:
    """Runs everything; 0 if all came out right."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--state", type=Path, help="Folder to use and keep; default: a temporary one.")
    parser.add_argument("--json", action="store_true", help="Print the report as JSON.")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.inside:
        _enter()
    with interrupt_on_term(), _folder(options.state) as state:
        report = run(state, options.rounds)
    say = json.dumps(report) if options.json else json.dumps(report, indent=2)
    print(say)  # noqa: T201 (a script)
    return 0 if not report["problems"] else 1


def run(state: Path, rounds: int) -> dict[str, object]:
    """Starts the services, waits for the rounds, stops the services. `problems` is empty where all came out right."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    variables = {"FLFLEET_STATE": str(state), "FLFLEET_LOCALNET_ROUNDS": str(rounds)}
    services = read(ROOT / "compose.yaml", variables, ["localnet"])
    started = [service for service in in_order(services) if service.name not in LEFT_OUT]
    initialise_localnet(state, [f"hospital-{number}" for number in range(1, MINERS + 1)])
    stage = Stage(state, ROOT, [service.name for service in started])
    stage.warm()
    problems: list[str] = []
    with _running(stage, started, problems) as running:
        began = time.monotonic()
        health = {one.name: one.wait_until_healthy() for one in running if one.service.health}
        problems += [f"{name} is not healthy: {word}" for name, word in health.items() if word]
        ledger = _ledger(state)
        results = _watch(ledger, rounds, running)
        problems += problems_of(ledger, results, MINERS, rounds, LEAST_ACCURACY)
        seconds = time.monotonic() - began
    return {
        "services": sorted(services),
        "left_out": list(LEFT_OUT),
        "processes": len(running),
        "healthy": sum(not word for word in health.values()),
        "rounds": [
            {"round": one.round, "status": one.status, "submissions": one.submissions, "accuracy": one.accuracy}
            for one in results
        ],
        "seconds": round(seconds, 1),
        "stop_seconds": {one.name: one.stop_seconds for one in running if one.stop_seconds is not None},
        "problems": problems,
    }


@contextmanager
def _running(stage: Stage, services: Sequence[Service], problems: list[str]) -> Iterator[list[Running]]:
    """Starts services in order and stops them in the other; adds to `problems` what does not end as it should."""
    running: list[Running] = []
    try:
        for service in services:
            for other, condition in service.waits_for.items():
                _await([one for one in running if one.service.name == other], condition)
            running += [stage.start(service, number) for number in range(1, service.replicas + 1)]
        for one in running:
            if one.service.name == "first-task":
                one.wait_until_done()
        yield running
    finally:
        # As an engine does: what stands on the stores first, side by side; then the stores.
        stores = [one for one in running if one.service.name in STORES]
        for group in ([one for one in running if one not in stores], stores):
            problems += stop(group)


def _await(others: Sequence[Running], condition: str) -> None:
    for other in others:
        if condition == "service_completed_successfully":
            other.wait_until_done()
        elif condition == "service_healthy":
            complaint = other.wait_until_healthy()
            if complaint:
                raise SystemExit(f"{other.name} does not become healthy: {complaint}; see {other.log}")


def _ledger(state: Path) -> Ledger:
    """Looks into the fleet from outside of it, as `flfleet demo` does."""
    os.environ["FLFLEET_LEDGER_URL_FILE"] = str(state / "secrets" / "fleet_ledger_url")
    os.environ["FLFLEET_ARTIFACTS_URL"] = (state / "volumes" / "artifacts").as_uri()
    os.environ["FLFLEET_CACHE_DIR"] = str(state / "onlooker")
    return Ledger(load(state / "fleet"), "http://aggregator:3001", "demo")


def _watch(ledger: Ledger, rounds: int, running: Sequence[Running]) -> list[RoundResult]:
    end = time.monotonic() + ROUND_SECONDS * rounds
    results: list[RoundResult] = []
    while time.monotonic() < end:
        fallen = [one for one in running if one.fell()]
        if fallen:
            raise SystemExit(f"{fallen[0].name} ended by itself; see {fallen[0].log}\n{fallen[0].last_words()}")
        results = read_rounds(ledger)
        if len(results) >= rounds or (results and results[-1].ended_early):
            break
        time.sleep(1)
    return results


def _enter() -> None:
    """Goes on in namespaces: what is started there cannot outlive this command."""
    if os.geteuid() != 0:
        raise SystemExit("namespaces and users need root: sudo python -m deploy.native")
    for name, package in {"redis-server": "redis-server", "ip": "iproute2", "unshare": "util-linux"}.items():
        if shutil.which(name) is None:
            raise SystemExit(f"{name} is missing: apt-get install {package}")
    own = {name: value for name, value in os.environ.items() if not name.startswith("FLFLEET_")}
    command = [*NAMESPACES, sys.executable, "-m", "deploy.native", "--inside", *sys.argv[1:]]
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    done = subprocess.run(command, env={**own, "PYTHONPATH": str(ROOT)}, cwd=ROOT, check=False)
    raise SystemExit(done.returncode)


@contextmanager
def _folder(state: Path | None) -> Iterator[Path]:
    if state is not None:
        state.mkdir(parents=True)
        yield state.absolute()
        return
    folder = Path(tempfile.mkdtemp(prefix="flfleet-native-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
