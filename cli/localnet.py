"""A local network: backend, publisher and aggregator on this machine, each with a home and a key pair of its own.

<home>/broker/                  the parties' broker
<home>/backend/ publisher/ aggregator/    a home each (fleet.toml, key, ledger, artifacts)
<home>/miners/                  keystores, where no roster was given
<home>/consortium.json          who everybody is
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cli.broker import embedded_broker
from cli.consortium import Consortium, Party, read_roster, write_consortium
from cli.homes import create_party_home
from cli.init import write_sample_digits
from cli.ports import claim_port
from cli.programs import Program, party_workers, service
from cli.task_document import Wanted, first_round, fresh_model, keep_plan, model_file
from cli.up import run_programs
from cli.upgrading import upgrade_own_ledger
from pipeline.curve.select import kernel_name
from pipeline.errors import Misconfigured
from pipeline.protocol.task import Architecture
from pipeline.settings import load
from pipeline.stores.keys import open_keystore, public_part, write_keystore

#: Fewer, and a sum with one's own part taken away shows the others'.
LEAST_MINERS = 3


@dataclass(frozen=True, kw_only=True)
class Ports:
    """Where the services listen; 0 is a free one."""

    backend: int = 3000
    aggregator: int = 3001
    publisher: int = 3002


@dataclass(frozen=True, kw_only=True)
class Localnet:
    """A network that is ready to be started."""

    consortium: Consortium
    programs: Sequence[Program]
    aggregator_home: Path
    publisher_home: Path


def prepare(
    home: Path,
    plan: Wanted | None,
    roster: Sequence[str] | int,
    ports: Ports,
    validation: Path,
    extra: Mapping[str, object] | None = None,
) -> Localnet:
    """Writes the three homes and the plan of the task, if there is one. `roster`: addresses, or a number of keys to make.

    `validation`: the aggregator's own labelled data, a folder per data set. `extra`: further settings of every home.
    Raises Misconfigured.
    """
    home = home.absolute()
    addresses = _make_keys(home / "miners", roster) if isinstance(roster, int) else list(roster)
    if len(addresses) < LEAST_MINERS:
        raise Misconfigured(
            f"a round needs at least {LEAST_MINERS} miners, got {len(addresses)}: with fewer, a sum shows who sent what"
        )
    backend_port = claim_port(ports.backend, "--backend-port")
    aggregator_port = claim_port(ports.aggregator, "--aggregator-port")
    publisher_port = claim_port(ports.publisher, "--publisher-port")
    broker = embedded_broker(home, "network-broker")
    consortium = Consortium(
        backend=f"http://127.0.0.1:{backend_port}",
        publisher=party(home / "publisher", f"http://127.0.0.1:{publisher_port}"),
        aggregator=party(home / "aggregator", f"http://127.0.0.1:{aggregator_port}"),
        miners=addresses,
    )
    broker_url = (home / "broker" / "url").read_text().strip()
    write_homes(home, consortium, validation.absolute(), {"broker_url": broker_url, **(extra or {})})
    write_consortium(home / "consortium.json", consortium)
    for name in ("backend", "publisher", "aggregator"):
        upgrade_own_ledger(load(home / name))
    if plan is not None:
        plan_task(home / "publisher", consortium, plan)
    return Localnet(
        consortium=consortium,
        programs=[
            broker,
            service(home / "backend", "backend", backend_port),
            service(home / "aggregator", "aggregator", aggregator_port),
            service(home / "publisher", "publisher", publisher_port),
            *party_workers(home / "aggregator", home / "publisher"),
        ],
        aggregator_home=home / "aggregator",
        publisher_home=home / "publisher",
    )


def _make_keys(folder: Path, count: int) -> list[str]:
    paths = [folder / f"miner-{number}.json" for number in range(1, count + 1)]
    return [public_part(path if path.exists() else write_keystore(path))[0] for path in paths]


def _keystore(home: Path) -> tuple[Path, Path]:
    return home / "key.json", home / "key.password"


def party(home: Path, url: str) -> Party:
    """A party of this home, with a fresh key where it has none."""
    keystore, password = _keystore(home)
    if not keystore.exists():
        write_keystore(keystore)
    key = open_keystore(keystore, password)
    return Party(address=key.address, public_key=key.public_key, url=url)


def write_homes(home: Path, consortium: Consortium, validation: Path, extra: Mapping[str, object]) -> None:
    """Writes the three parties' fleet.toml. `extra`: further settings of all of them."""
    trust: dict[str, object] = {
        "backend_url": consortium.backend,
        "trusted_publishers": [consortium.publisher.address],
        "trusted_aggregators": [consortium.aggregator.address],
        "poll_seconds": 1.0,
        "sweep_seconds": 1.0,
        **extra,
    }
    key: dict[str, object] = {"party_key": "key.json"}
    create_party_home(home / "backend", "backend", trust | {"party_url": consortium.backend})
    create_party_home(home / "publisher", "publisher", trust | key | {"party_url": consortium.publisher.url})
    measured: dict[str, object] = {"party_url": consortium.aggregator.url, "validation_data": validation}
    create_party_home(home / "aggregator", "aggregator", trust | key | measured)


def plan_task(home: Path, consortium: Consortium, wanted: Wanted) -> None:
    """Keeps the plan in the publisher's ledger; the same again is no change."""
    model = fresh_model(Architecture(name="cnn", kwargs={}))
    file = model_file(model)
    kernel = kernel_name(load(home).curve_kernel)
    keep_plan(home, wanted, first_round(wanted, consortium, file, model.architecture, model.dimension, kernel), file)


def run_localnet(home: Path, plan: Wanted, roster: Path | int, ports: Ports, validation: Path | None) -> None:
    """`flfleet localnet`: prepares the network and keeps it running until Ctrl-C. Raises Misconfigured."""
    if validation is None:
        if plan.dataset != "mnist":
            raise Misconfigured(
                f"--validation-data is needed for {plan.dataset!r}: the aggregator measures accuracy on its own data"
            )
        validation = home / "validation"
        if not validation.exists():
            write_sample_digits(home / "miners" / "data", ["miner"], validation)
    addresses = read_roster(roster) if isinstance(roster, Path) else roster
    network = prepare(home, plan, addresses, ports, validation)
    parties = network.consortium
    pages = [
        f"backend {parties.backend}",
        f"aggregator {parties.aggregator.url}/aggregator",
        f"publisher {parties.publisher.url}",
        f"miners join with: flfleet init --consortium {home / 'consortium.json'}"
        + ("" if isinstance(roster, Path) else f" --keys {home / 'miners'} --sample-digits"),
    ]
    run_programs(home, network.programs, pages, own_settings=True)
