"""What compose.yaml mounts: a fleet's home with the passwords apart, secrets, and the homes of a network to try against.

<state>/fleet/      fleet.toml, keys/, passwords/ (mounted where something is signed, nowhere else), data/
<state>/secrets/    broker.conf, databases.sql, and the addresses of broker and ledgers with their passwords
<state>/localnet/   the parties of the profile `localnet`, their keys, validation data, consortium.json

A bind mount keeps its owner, and the containers' user is nobody on this machine: so the files are readable by all, and the
folders above them by their owner alone.
"""

import secrets
from collections.abc import Sequence
from pathlib import Path

from cli.consortium import Consortium, read_consortium, write_consortium
from cli.homes import NewMiner, create_fleet_home
from cli.init import write_sample_digits
from cli.localnet import party, plan_task, write_homes
from cli.task_document import Wanted
from pipeline.errors import Misconfigured
from pipeline.stores.keys import public_part, write_keystore

#: Names and ports as compose.yaml gives them to its services.
BACKEND, AGGREGATOR, PUBLISHER = "http://backend:3000", "http://aggregator:3001", "http://publisher:3002"
PARTIES = ("backend", "aggregator", "publisher")
PASSWORDS = Path("passwords")
_BROKER = "# Mounted as a secret; how it persists and evicts stands in compose.yaml.\nrequirepass {password}\n"
#: A party's user reaches its own database and no other one; the superuser's password is the server's alone.
_DATABASE = """\
CREATE ROLE {name} LOGIN PASSWORD '{password}';
CREATE DATABASE {name} OWNER {name};
REVOKE ALL ON DATABASE {name} FROM PUBLIC;
"""
_QUICK = "poll_seconds = 1.0\nsweep_seconds = 2.0\nverify_seconds = 1.0\n"


def write_secrets(folder: Path) -> None:
    """Makes passwords for broker and ledgers, and the addresses that hold them; what is there stays."""
    if folder.exists():
        return
    broker, root = secrets.token_hex(24), secrets.token_hex(24)
    ledgers = {name: secrets.token_hex(24) for name in ("fleet", *PARTIES)}
    files = {
        "broker.conf": _BROKER.format(password=broker),
        "broker_password": broker,
        "broker_url": f"redis://:{broker}@redis:6379/0",
        "party_broker_url": f"redis://:{broker}@redis:6379/1",
        "postgres_password": root,
        "ledger_password": ledgers["fleet"],
        "databases.sql": "".join(_DATABASE.format(name=name, password=password) for name, password in ledgers.items()),
        **{f"{name}_ledger_url": _ledger(name, password) for name, password in ledgers.items()},
        "page_password": secrets.token_urlsafe(24),
    }
    folder.mkdir(parents=True, mode=0o700)
    for name, text in files.items():
        (folder / name).write_text(text + "\n")


def initialise(state: Path, names: Sequence[str], consortium: Path | None) -> list[str]:
    """Makes the fleet's home, where there is none, and the secrets. Returns new addresses. Raises Misconfigured."""
    home = state / "fleet"
    addresses: list[str] = []
    if (home / "fleet.toml").exists():
        _refuse_open_passwords(home)
    else:
        parties = read_consortium(consortium) if consortium else None
        miners = [NewMiner(name=name, data=Path("data") / name) for name in (names or ["miner"])]
        addresses = create_fleet_home(home, miners, parties, passwords=PASSWORDS)
    write_secrets(state / "secrets")
    _readable(home, state / "secrets")
    return addresses


def initialise_localnet(state: Path, names: Sequence[str]) -> list[str]:
    """Makes a fleet of sample digits and the network it works for. Returns the addresses. Raises Misconfigured."""
    home, network = state / "fleet", state / "localnet"
    addresses = [public_part(write_keystore(home / "keys" / f"{name}.json"))[0] for name in names]
    parties = Consortium(
        backend=BACKEND,
        publisher=party(network / "publisher", PUBLISHER),
        aggregator=party(network / "aggregator", AGGREGATOR),
        miners=addresses,
    )
    write_consortium(network / "consortium.json", parties)
    miners = [NewMiner(name=name, data=Path("data") / name) for name in names]
    create_fleet_home(home, miners, parties, extra=_QUICK, passwords=PASSWORDS)
    write_homes(network, parties, Path("validation"), {})
    write_sample_digits(home / "data", names, network / "validation")
    write_secrets(state / "secrets")
    _readable(home, state / "secrets", network)
    return addresses


def plan_first_task(home: Path, wanted: Wanted) -> None:
    """Stores a plan in the ledger of the publisher whose home this is; its worker signs and follows it."""
    plan_task(home, read_consortium(home / "consortium.json"), wanted)


def _ledger(name: str, password: str) -> str:
    return f"postgresql+psycopg://{name}:{password}@postgres:5432/{name}"


def _refuse_open_passwords(home: Path) -> None:
    beside = sorted((home / "keys").glob("*.password"))
    if beside:
        raise Misconfigured(
            f"{beside[0]} lies beside the keystores, which every pool sees; move it to {home / PASSWORDS} and set "
            f'password_file = "{PASSWORDS / beside[0].name}" in its [[miner]] of fleet.toml'
        )


def _readable(*folders: Path) -> None:
    """For the containers' user, who gets single files and folders mounted; on the host the folder around them is closed."""
    for folder in folders:
        for path in folder.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        folder.chmod(0o700)
