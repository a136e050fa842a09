"""`flfleet chaos`: a fleet and a network under fire, and a count of what came of every run.

The processes are the real ones, under the supervisor that `up` and `localnet` use; only the tasks are small. While they run,
a tormentor does what its schedule (a function of the seed) says. Then it is calm until every run is over or time is up.
"""

import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cli.chaos_count import count
from cli.chaos_home import MINERS, Ground, prepare_ground
from cli.chaos_load import Load, small_tasks
from cli.chaos_report import as_line, print_report, summary, write_log
from cli.chaos_schedule import schedule
from cli.chaos_torments import Tormentor
from cli.chaos_watch import Watch, open_watch, progress
from cli.console import ERR, OUT
from cli.supervision import Supervisor
from cli.up import interrupt_on_term
from pipeline.errors import FleetError
from pipeline.stores.aggregator.rounds import RoundLedger, RoundState
from pipeline.stores.fleet.records import OPEN

START_SECONDS = 120.0
#: After the last fault, so long may pass without one more stage that ends; then what is on its way is stuck.
CALM_SECONDS = 120.0
#: The last tasks come this share of the time before its end.
_LOAD_SHARE = 0.85
_CLOSING = (RoundState.CLOSING, RoundState.AWAITING_VERIFICATION)


def run_chaos(*, runs: int, seconds: float, seed: int | None, as_json: bool, home: Path | None) -> bool:
    """Runs it; returns whether nothing was lost, doubled or stuck. Leaves no process behind, however it ends.

    Raises FleetError where a process does not start.
    """
    seed = secrets.randbelow(2**31) if seed is None else seed
    tasks = -(-runs // MINERS)
    with _folder(home) as folder, interrupt_on_term(), _ground(folder) as ground:
        ERR.print(f"seed {seed}: {tasks * MINERS} runs, {seconds:.0f} s of faults, in {folder}")
        small = small_tasks(ground.network.consortium, ground.proxy.url, tasks, seed)
        load = Load(ground, small[1:], seconds * _LOAD_SHARE)
        with _running(ground) as supervisor, _watching(ground) as watch:
            # The first task passes in peace: only then is everybody really there.
            load.plan(small[0])
            _calm(ground, watch, MINERS, START_SECONDS)
            with load, Tormentor(ground, supervisor, watch, schedule(seed, seconds)) as tormentor:
                _wait(load, tormentor, seconds)
            _calm(ground, watch, tasks * MINERS, CALM_SECONDS)
            counted = count(ground, [task.document["taskID"] for task in small])
            write_log(folder / "faults.jsonl", watch.recoveries())
            document = summary(counted, tormentor.done, watch.recoveries())
            print_report(document, counted, tormentor.skipped, seed)
            if as_json:
                OUT.print(as_line(document), soft_wrap=True)
        return counted.is_whole


@contextmanager
def _ground(folder: Path) -> Iterator[Ground]:
    ground = prepare_ground(folder)
    try:
        yield ground
    finally:
        ground.close()


@contextmanager
def _running(ground: Ground) -> Iterator[Supervisor]:
    """Everything up, and down again at the end."""
    supervisor = Supervisor(ground.folder)
    supervisor.start(ground.programs, tied=True, own_settings=True)
    try:
        states = supervisor.wait_until_running(START_SECONDS)
        fallen = sorted(name for name, state in states.items() if state != "RUNNING")
        if fallen or not states:
            raise FleetError(f"{', '.join(fallen) or 'the supervisor'} does not start; see {ground.folder / 'logs'}")
        yield supervisor
    finally:
        supervisor.stop()


@contextmanager
def _watching(ground: Ground) -> Iterator[Watch]:
    network = ground.network
    with open_watch(ground.fleet_home, network.aggregator_home, network.publisher_home) as watch:
        yield watch


def _wait(load: Load, tormentor: Tormentor, seconds: float) -> None:
    """Until all faults are over and all tasks planned; the load may wait for a busy ledger, but not for ever."""
    end = time.monotonic() + seconds + CALM_SECONDS
    while not (load.is_done and tormentor.is_done) and time.monotonic() < end:
        time.sleep(0.2)


def _calm(ground: Ground, watch: Watch, runs: int, seconds: float) -> None:
    """Until so many runs, and every round, are over, or nothing has gone on for so long."""
    from pipeline.settings import load as load_settings
    from pipeline.stores.db.engine import open_database

    rounds = RoundLedger(open_database(load_settings(ground.network.aggregator_home).ledger))
    end, furthest = time.monotonic() + seconds, 0
    try:
        while time.monotonic() < end:
            view = watch.view
            if progress(view) > furthest:
                end, furthest = time.monotonic() + seconds, progress(view)
            ended = sum(place.state not in OPEN for place in view.runs.values())
            # Once no run is open, an open round gets nothing more: one that is full closes with its last verdict.
            if ended >= runs and not any(found.state in _CLOSING for found in rounds.all()):
                return
            time.sleep(0.5)
    finally:
        rounds.close()


@contextmanager
def _folder(home: Path | None) -> Iterator[Path]:
    """The named folder, or a temporary one that goes with the command."""
    if home is not None:
        home.mkdir(parents=True, exist_ok=True)
        yield home.absolute()
        return
    folder = Path(tempfile.mkdtemp(prefix="flfleet-chaos-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
