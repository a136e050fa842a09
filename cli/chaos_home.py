"""What chaos torments: a real fleet and a real local network whose tasks are small, so that a minute holds many runs.

The fleet is `flfleet up`'s, with a second beat and one more worker for every queue, whose clock can be moved. Its artifacts
lie on a small file system of their own where one can be mounted, so that it can really be full.
"""

import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cli.chaos_proxy import AggregatorProxy
from cli.homes import NewMiner, create_fleet_home
from cli.localnet import Localnet, Ports, prepare
from cli.programs import Program, beat, worker
from cli.up import Pages, fleet_programs
from pipeline.errors import Misconfigured
from pipeline.learning.data.digits import write_digits
from pipeline.stages.contract import Stage
from tasks.app import CONTROL

MINERS = 5
DATASET = "digits"
#: 28 x 28 digits in means of 4 x 4.
SIDE, BLOCK = 7, 4
CLASSES = 10
DIMENSION = SIDE * SIDE * CLASSES + CLASSES
#: The worker whose clock is moved.
SKEWED = "skewed"
#: Of the file system that holds the fleet's artifacts.
ARTIFACT_MEGABYTES = 64
MIN_FREE_BYTES = 1024**2
LEASE_SECONDS = 5.0
_SAMPLES, _VALIDATION = 24, 30
#: Each setting that differs from a production home's, and why.
_FLEET_EXTRA = f"""
# Sooner than in production, so that a minute holds many faults and recoveries.
poll_seconds = 1.0
sweep_seconds = 1.0
lease_seconds = {LEASE_SECONDS}
http_timeout_seconds = 4.0
# A model of {DIMENSION} parameters, so that a stage takes milliseconds.
min_coordinates = {DIMENSION}
curve_kernel = "reference"
# The artifacts' own file system is small, and its being full is one of the faults.
min_free_bytes = {MIN_FREE_BYTES}
"""
_NETWORK_EXTRA: dict[str, object] = {
    "curve_kernel": "reference",
    "lease_seconds": LEASE_SECONDS,
    "http_timeout_seconds": 10.0,
}


@dataclass(frozen=True, kw_only=True)
class Ground:
    """What was prepared, and where the tormentor can get at it."""

    folder: Path
    fleet_home: Path
    network: Localnet
    proxy: AggregatorProxy
    programs: Sequence[Program]
    #: Seconds by which the skewed worker's clock is off, as text.
    clock: Path
    #: While such a file is there, the broker of that name does not start.
    holds: dict[str, Path]
    #: Whether the artifacts have a file system of their own.
    own_file_system: bool

    @property
    def broker_folders(self) -> dict[str, Path]:
        """Each broker's data, by its program's name."""
        return {"broker": self.fleet_home / "broker", "network-broker": self.folder / "network" / "broker"}

    def close(self) -> None:
        """Stops the proxy and takes the file system away."""
        self.proxy.close()
        umount = shutil.which("umount")
        if self.own_file_system and umount is not None:
            subprocess.run([umount, "--lazy", str(self.fleet_home / "artifacts")], check=False)


def prepare_ground(folder: Path) -> Ground:
    """Writes the homes and starts the proxy; nothing else runs yet. Raises Misconfigured."""
    fleet_home, network_home = folder / "fleet", folder / "network"
    if (fleet_home / "fleet.toml").exists():
        raise Misconfigured(f"{folder} holds an earlier run; choose another folder with --home, or delete it")
    names = [f"hospital-{number}" for number in range(1, MINERS + 1)]
    _write_small_digits(fleet_home / "data", names, network_home / "validation")
    roster = _keys(fleet_home, names)
    ports = Ports(backend=0, aggregator=0, publisher=0)
    network = prepare(network_home, None, roster, ports, network_home / "validation", _NETWORK_EXTRA)
    identities = [NewMiner(name=name, data=Path("data") / name) for name in names]
    create_fleet_home(fleet_home, identities, network.consortium, extra=_FLEET_EXTRA)
    clock = fleet_home / "clock"
    clock.write_text("0")
    holds = {name: folder / f"hold-{name}" for name in ("broker", "network-broker")}
    fleet = [
        *fleet_programs(fleet_home, Pages(flower_port=0, page_port=0)),
        beat(fleet_home, "beat-2"),
        _skewed(fleet_home, clock),
    ]
    programs = [_gated(program, holds.get(program.name)) for program in (*network.programs, *fleet)]
    return Ground(
        folder=folder,
        fleet_home=fleet_home,
        network=network,
        proxy=AggregatorProxy(network.consortium.aggregator.url),
        programs=programs,
        clock=clock,
        holds=holds,
        own_file_system=_mount(fleet_home / "artifacts"),
    )


def _keys(home: Path, names: Sequence[str]) -> list[str]:
    from pipeline.stores.keys import public_part, write_keystore

    return [public_part(write_keystore(home / "keys" / f"{name}.json"))[0] for name in names]


def _skewed(home: Path, clock: Path) -> Program:
    """A worker for every queue of the fleet, whose `time.time` is off by what the file says."""
    program = worker(home, SKEWED, queues=",".join([*Stage, CONTROL]))
    command = (sys.executable, "-m", "cli.chaos_clock", str(clock), *program.command[3:])
    return dataclasses.replace(program, command=command)


def _gated(program: Program, hold: Path | None) -> Program:
    """The program behind a gate: it waits while the file is there, so that an outage lasts as long as is wanted."""
    if hold is None:
        return program
    gate = ("/bin/sh", "-c", 'while [ -e "$1" ]; do sleep 0.1; done; shift; exec "$@"', "gate", str(hold))
    return dataclasses.replace(program, command=(*gate, *program.command))


def _mount(folder: Path) -> bool:
    """Mounts a small file system; False where this user may not."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = shutil.which("mount")
    if mount is None or not sys.platform.startswith("linux"):
        return False
    command = [mount, "-t", "tmpfs", "-o", f"size={ARTIFACT_MEGABYTES}m", "flfleet-chaos", str(folder)]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def _write_small_digits(data: Path, names: Sequence[str], validation: Path) -> None:
    write_digits(data, names, _SAMPLES, validation, _VALIDATION)
    for parent in (*(data / name for name in names), validation):
        (parent / "mnist").rename(parent / DATASET)
        for path in sorted((parent / DATASET / "images").iterdir()):
            image = np.load(path, allow_pickle=False)
            small = image.reshape(SIDE, BLOCK, SIDE, BLOCK).mean(axis=(1, 3)).astype(np.uint8)
            np.save(path, small, allow_pickle=False)
        described = {"shape": [SIDE, SIDE], "classes": CLASSES, "mean": 0.1307, "std": 0.3081}
        lines = [f"{name} = {json.dumps(value)}\n" for name, value in described.items()]
        (parent / DATASET / "dataset.toml").write_text("".join(lines))
