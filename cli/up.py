"""`flfleet up`: a fleet's processes under a supervisor, in the foreground until Ctrl-C or TERM."""

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from cli.broker import embedded_broker
from cli.console import ERR
from cli.ports import claim_port
from cli.programs import Program, fleet, flower
from cli.supervision import Supervisor
from cli.upgrading import upgrade_own_ledger
from pipeline.errors import Misconfigured
from pipeline.settings import load
from pipeline.stores.keys import identities

#: A whole fleet of 25 processes answers within 8 s on two cores; this is for a busy machine.
START_SECONDS = 90.0


def fleet_programs(home: Path, flower_port: int) -> list[Program]:
    """The programs of a fleet's home, its broker included where none is named. Raises Misconfigured."""
    if not (home / "fleet.toml").exists():
        raise Misconfigured(f"{home}: no fleet.toml there; make one with: flfleet init --home {home}")
    settings = load(home)
    upgrade_own_ledger(settings)
    if not identities(settings):
        raise Misconfigured(f"{home / 'fleet.toml'}: no [[miner]] there; make a key with: flfleet keys new NAME")
    programs = [] if settings.broker_url else [embedded_broker(home)]
    programs += fleet(home.absolute(), settings.workers)
    if flower_port:
        programs.append(flower(home.absolute(), claim_port(flower_port, "--flower-port")))
    return programs


def run_fleet(home: Path, flower_port: int) -> None:
    """Starts the fleet and stays until it is told to stop."""
    programs = fleet_programs(home, flower_port)
    pages = [f"Flower http://127.0.0.1:{flower_port}"] if flower_port else []
    run_programs(home, programs, pages, own_settings=False)


def run_programs(home: Path, programs: Sequence[Program], pages: Sequence[str], *, own_settings: bool) -> None:
    """Runs programs under a supervisor in the foreground; Ctrl-C or TERM stops them in order."""
    supervisor = Supervisor(home)
    with interrupt_on_term():
        supervisor.start(programs, tied=True, own_settings=own_settings)
        try:
            _report(supervisor, len(programs), pages)
            supervisor.wait()
        except KeyboardInterrupt:
            ERR.print("stopping")
        finally:
            supervisor.stop()


def _report(supervisor: Supervisor, count: int, pages: Sequence[str]) -> None:
    states = supervisor.wait_until_running(START_SECONDS)
    for name, state in sorted(states.items()):
        if state != "RUNNING":
            ERR.print(f"[yellow]{name}: {state.lower()}[/], see {supervisor.log(name)}")
    ERR.print(f"up: {sum(state == 'RUNNING' for state in states.values())} of {count} processes. Ctrl-C stops.")
    for page in pages:
        ERR.print(page)


@contextmanager
def interrupt_on_term() -> Iterator[None]:
    """Makes TERM what Ctrl-C is, so that whoever stops a command stops its processes too."""
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
