"""The processes that a fleet, or a local network, consists of: what to run, in which home, as plain data."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import SecretStr

from network.guard import LOOPBACK as LOOPBACK_NAMES
from network.guard import USER
from pipeline.errors import Misconfigured
from pipeline.stages.contract import Stage
from tasks.app import AGGREGATE, CONTROL, PUBLISH, RETRAIN, VERIFY

#: Pools that read more queues than the one of their name.
_QUEUES = {Stage.TRAIN.value: f"{Stage.TRAIN},{RETRAIN}"}

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class Program:
    """One process for the supervisor to keep."""

    name: str
    command: tuple[str, ...]
    #: The home folder whose fleet.toml it reads.
    home: Path
    #: Started earlier, stopped later, the smaller it is.
    priority: int = 500
    environment: Mapping[str, str] = field(default_factory=dict)
    #: How long a stop may take before it is killed.
    stop_seconds: int = 10
    #: When its log is turned over, and how many old ones stay.
    log_max_bytes: int = 20 * 1024**2
    log_backups: int = 3


def worker(home: Path, pool: str, *, processes: int = 1, queues: str | None = None) -> Program:
    """A Celery worker for one pool; `queues`, with commas, where it is to read others than the pool's."""
    command = ("-m", "celery", "-A", "tasks.app", "worker", "-Q", queues or _QUEUES.get(pool, pool), "-n", f"{pool}@%h")
    options = ("--concurrency", str(processes), "--loglevel", "INFO", "--without-mingle", "--without-gossip")
    # One thread of numeric libraries a process: pools would fight for the cores otherwise.
    # REMAP_SIGTERM: a stop gives the task back to the queue at once instead of waiting for its end.
    environment = {"FLFLEET_POOL": pool, "OMP_NUM_THREADS": "1", "REMAP_SIGTERM": "SIGQUIT"}
    return Program(name=pool, command=(sys.executable, *command, *options), home=home, environment=environment)


def beat(home: Path, name: str = "beat") -> Program:
    """Celery's beat with the timetable of the home's roles."""
    schedule = str(home / "run" / f"{name}.schedule")
    command = (sys.executable, "-m", "celery", "-A", "tasks.app", "beat", "--schedule", schedule, "--pidfile=")
    return Program(name=name, command=(*command, "--loglevel", "INFO"), home=home, environment={"FLFLEET_POOL": "beat"})


def service(home: Path, name: str, port: int, host: str = LOOPBACK) -> Program:
    """One of the HTTP services; what lies outside loopback is for a container or a proxy to guard."""
    target = ("--factory", f"network.started:{name}", "--host", host, "--port", str(port))
    command = (sys.executable, "-m", "uvicorn", *target, "--no-access-log")
    return Program(name=name, command=command, home=home, priority=300, environment={"FLFLEET_POOL": name})


def fleet_page(home: Path, port: int, host: str = LOOPBACK) -> Program:
    """The fleet page and its metrics. Beyond loopback it asks for the password of the setting `page_password`."""
    page = service(home, "fleet", port, host)
    return replace(page, name="fleet-page", priority=500)


def flower(home: Path, port: int, host: str = LOOPBACK, password: SecretStr | None = None) -> Program:
    """Flower. Beyond loopback it asks for a password; its /metrics and /healthcheck stay open even then.

    Raises Misconfigured where it is to listen beyond loopback and there is no password.
    """
    environment = {"FLFLEET_POOL": "flower"}
    if password is not None:
        # Flower reads it there; an argument would be in every list of processes.
        environment["FLOWER_BASIC_AUTH"] = f"{USER}:{password.get_secret_value()}"
    elif host not in LOOPBACK_NAMES:
        raise Misconfigured(f"Flower is to listen on {host}: set FLFLEET_PAGE_PASSWORD first (user {USER})")
    state = str(home / "run" / "flower.db")
    options = (
        f"--address={host}",
        f"--port={port}",
        "--persistent=True",
        f"--db={state}",
        "--state_save_interval=10000",
        # What a person looks for: which stage of whose run, and how far it is.
        "--tasks-columns=name,args,state,result,received,runtime,worker,uuid",
    )
    command = (sys.executable, "-m", "celery", "-A", "tasks.app", "flower", *options)
    return Program(name="flower", command=command, home=home, environment=environment)


def fleet(home: Path, workers: Mapping[str, int]) -> list[Program]:
    """Every pool of a miner's fleet, and beat."""
    pools = [*(stage.value for stage in Stage), CONTROL, VERIFY]
    return [
        *(worker(home, pool, processes=workers.get(pool, 1)) for pool in pools),
        beat(home),
    ]


def party_workers(aggregator: Path, publisher: Path) -> list[Program]:
    """The aggregator's and the publisher's workers, each with a beat of its own."""
    return [
        worker(aggregator, AGGREGATE),
        worker(publisher, PUBLISH),
        beat(aggregator, "aggregator-beat"),
        beat(publisher, "publisher-beat"),
    ]
