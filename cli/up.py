"""`flfleet up`: a fleet's processes under a supervisor, in the foreground until Ctrl-C or TERM."""

import secrets
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

from pydantic import SecretStr

from cli.broker import embedded_broker
from cli.console import ERR
from cli.homes import write_private
from cli.ports import claim_port
from cli.programs import LOOPBACK, Program, fleet, fleet_page, flower
from cli.supervision import Supervisor
from cli.upgrading import upgrade_own_ledger
from network.guard import LOOPBACK as LOOPBACK_NAMES
from network.guard import USER
from pipeline.errors import Misconfigured
from pipeline.settings import Settings, load
from pipeline.stores.keys import identities

#: A whole fleet of 25 processes answers within 8 s on two cores; this is for a busy machine.
START_SECONDS = 90.0


@dataclass(frozen=True, kw_only=True)
class Pages:
    """Where people look: an address, and a port each; 0 is none."""

    listen: str = LOOPBACK
    flower_port: int = 5555
    page_port: int = 5556

    @property
    def addresses(self) -> list[str]:
        """What to tell a person."""
        named = {"fleet page": self.page_port, "Flower": self.flower_port}
        return [f"{name:<11} http://{self.listen}:{port}" for name, port in named.items() if port]


def fleet_programs(home: Path, pages: Pages) -> list[Program]:
    """The programs of a fleet's home, its broker included where none is named. Raises Misconfigured."""
    if not (home / "fleet.toml").exists():
        raise Misconfigured(f"{home}: no fleet.toml there; make one with: flfleet init --home {home}")
    settings = load(home)
    upgrade_own_ledger(settings)
    if not identities(settings):
        raise Misconfigured(f"{home / 'fleet.toml'}: no [[miner]] there; make a key with: flfleet keys new NAME")
    programs = [] if settings.broker_url else [embedded_broker(home)]
    programs += fleet(home.absolute(), settings.workers)
    programs += page_programs(home.absolute(), settings, pages)
    return [
        replace(program, log_max_bytes=settings.log_max_bytes, log_backups=settings.log_backups) for program in programs
    ]


def page_programs(home: Path, settings: Settings, pages: Pages) -> list[Program]:
    """Flower and the fleet page. Beyond loopback both ask for a password: the setting's, or one that is made here."""
    password = settings.page_password
    if password is None and pages.listen not in LOOPBACK_NAMES:
        password = own_password(home)
    known = {} if password is None else {"FLFLEET_PAGE_PASSWORD": password.get_secret_value()}
    programs = []
    if pages.flower_port:
        port = claim_port(pages.flower_port, "--flower-port", pages.listen)
        programs.append(flower(home, port, pages.listen, password))
    if pages.page_port:
        page = fleet_page(home, claim_port(pages.page_port, "--page-port", pages.listen), pages.listen)
        programs.append(replace(page, environment={**page.environment, **known}))
    return programs


def own_password(home: Path) -> SecretStr:
    """The password in the home's `page.password`, made at the first start."""
    path = home / "page.password"
    if not path.exists():
        write_private(path, secrets.token_urlsafe(24) + "\n")
    ERR.print(f"the pages ask for user {USER} and the password in {path}")
    return SecretStr(path.read_text().strip())


def run_fleet(home: Path, pages: Pages) -> None:
    """Starts the fleet and stays until it is told to stop."""
    run_programs(home, fleet_programs(home, pages), pages.addresses, own_settings=False)


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
