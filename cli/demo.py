"""`flfleet demo`: a whole federation on this machine, and a check of what came out.

The parties and the fleet are the real ones, started as `localnet` and `up` start them. Only the demo may look into both
sides: it adds up what the miners really encrypted and compares that with the aggregator's sum.
"""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cli.console import ERR, OUT
from cli.demo_check import Ledger, RoundResult, problems_of, read_rounds
from cli.demo_view import Progress, print_report, report_json
from cli.homes import NewMiner, create_fleet_home
from cli.init import write_sample_digits
from cli.localnet import Localnet, Ports, prepare
from cli.ports import free_port
from cli.programs import Program
from cli.supervision import Supervisor
from cli.task_document import Wanted
from cli.up import Pages, fleet_programs, interrupt_on_term
from pipeline.errors import FleetError
from pipeline.settings import load
from pipeline.stores.keys import public_part, write_keystore

#: A round takes some twenty seconds on two cores; past this many a round the demo has failed.
ROUND_SECONDS = 120.0
START_SECONDS = 60.0
#: Fixed randomness, so that every demo shows the same accuracies. Production has none.
TRAINING_SEED = 7
EXPECTED_ACCURACY = 0.85
TASK_ID, DATASET = "demo", "mnist"
_FLEET_EXTRA = f"""
poll_seconds = 1.0
sweep_seconds = 2.0
verify_seconds = 1.0
training_seed = {TRAINING_SEED}
"""


@dataclass(frozen=True, kw_only=True)
class Federation:
    """What is to be started, and where to look into it."""

    network: Localnet
    fleet_home: Path
    programs: list[Program]
    pages: Pages


def run_demo(*, miners: int, rounds: int, as_json: bool, keep: bool, home: Path | None) -> bool:
    """Runs the demo; returns whether everything came out right. Leaves no process behind unless `keep`.

    Raises FleetError where a process does not start.
    """
    with _folder(home, keep=keep) as folder:
        ERR.print(f"{miners} miners, {rounds} rounds, in {folder}")
        federation = _prepare(folder, miners, rounds)
        supervisor = Supervisor(folder)
        with interrupt_on_term(), _running(supervisor, federation, keep=keep):
            ledger = Ledger(load(federation.fleet_home), federation.network.consortium.aggregator.url, TASK_ID)
            results = _watch(ledger, supervisor, miners, rounds)
            problems = problems_of(ledger, results, miners, rounds, EXPECTED_ACCURACY)
            print_report(results, problems)
            if keep:
                _say_where(federation, folder)
            if as_json:
                OUT.print(report_json(TASK_ID, results, ok=not problems), soft_wrap=True)
        return not problems


def _prepare(folder: Path, miners: int, rounds: int) -> Federation:
    fleet_home, network_home = folder / "fleet", folder / "network"
    names = [f"hospital-{number}" for number in range(1, miners + 1)]
    addresses = [public_part(write_keystore(fleet_home / "keys" / f"{name}.json"))[0] for name in names]
    write_sample_digits(fleet_home / "data", names, network_home / "validation")
    plan = Wanted(
        task_id=TASK_ID,
        dataset=DATASET,
        rounds=rounds,
        min_miners=3,
        shares=(1.0, 0.25),
        expected_accuracy=EXPECTED_ACCURACY,
        all_rounds=True,
    )
    network = prepare(
        network_home, plan, addresses, Ports(backend=0, aggregator=0, publisher=0), network_home / "validation"
    )
    identities = [NewMiner(name=name, data=Path("data") / name) for name in names]
    create_fleet_home(fleet_home, identities, network.consortium, extra=_FLEET_EXTRA)
    pages = Pages(flower_port=free_port(), page_port=free_port())
    programs = [*network.programs, *fleet_programs(fleet_home, pages)]
    return Federation(network=network, fleet_home=fleet_home, programs=programs, pages=pages)


@contextmanager
def _running(supervisor: Supervisor, federation: Federation, *, keep: bool) -> Iterator[None]:
    """Starts everything and stops it, unless it is to be kept and nothing went wrong."""
    supervisor.start(federation.programs, tied=not keep, own_settings=True)
    try:
        yield
    except BaseException:
        keep = False
        raise
    finally:
        if not keep:
            supervisor.stop()


def _watch(ledger: Ledger, supervisor: Supervisor, miners: int, rounds: int) -> list[RoundResult]:
    """Shows progress until the last round is over, the task has ended, or time is up."""
    end = time.monotonic() + START_SECONDS + ROUND_SECONDS * rounds
    with Progress(ledger, miners, rounds) as progress:
        while time.monotonic() < end:
            _raise_for_fallen(supervisor)
            results = read_rounds(ledger)
            progress.update(results)
            if len(results) >= rounds or (results and results[-1].ended_early):
                return results
            time.sleep(0.5)
    ERR.print("[red]time is up[/]")
    return read_rounds(ledger)


def _raise_for_fallen(supervisor: Supervisor) -> None:
    fallen = [name for name, state in supervisor.states().items() if state == "FATAL"]
    if fallen:
        logs = ", ".join(str(supervisor.log(name)) for name in fallen)
        raise FleetError(f"{', '.join(fallen)} does not start; see {logs} (--home keeps it)")


def _say_where(federation: Federation, folder: Path) -> None:
    consortium = federation.network.consortium
    ERR.print(f"aggregator  {consortium.aggregator.url}/aggregator")
    ERR.print(f"backend     {consortium.backend}/tasks/open")
    for address in federation.pages.addresses:
        ERR.print(address)
    ERR.print(f"runs        flfleet status --home {federation.fleet_home}")
    ERR.print(f"stop with   flfleet down --home {folder}")


@contextmanager
def _folder(home: Path | None, *, keep: bool) -> Iterator[Path]:
    """The demo's folder: the named one, or a temporary one that goes with the demo."""
    if home is not None:
        home.mkdir(parents=True, exist_ok=True)
        yield home.absolute()
        return
    folder = Path(tempfile.mkdtemp(prefix="flfleet-demo-"))
    try:
        yield folder
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
