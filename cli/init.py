"""`flfleet init`: a fleet's home folder from nothing, from a consortium file, or from keystores that exist."""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import typer

from cli.console import ERR
from cli.consortium import read_consortium
from cli.homes import NewMiner, create_fleet_home
from cli.join import fingerprint
from pipeline.errors import Misconfigured
from pipeline.stores.keys import public_part

DIGITS_PER_MINER = 800
VALIDATION_DIGITS = 1000
ALL_DIGITS = 5000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def initialise(
    home: Path, names: Sequence[str], consortium: Path | None, keys: Path | None, *, sample_digits: bool
) -> list[str]:
    """Makes the home and returns the identities' addresses. Raises Misconfigured."""
    parties = read_consortium(consortium) if consortium else None
    if (home / "fleet.toml").exists():
        raise Misconfigured(f"{home / 'fleet.toml'} is there already; edit it, or choose another folder with --home")
    taken = take_over_keys(home, keys) if keys else []
    names = [*names, *taken] or ["miner"]
    miners = [NewMiner(name=name, data=Path("data") / name) for name in names]
    addresses = create_fleet_home(home, miners, parties)
    if sample_digits:
        write_sample_digits(home / "data", names)
    return addresses


def ask(home: Path) -> tuple[list[str], Path | None, bool]:
    """Asks a person for what the options would say: identities, the consortium's file, sample data. Raises Misconfigured."""
    if (home / "fleet.toml").exists():
        raise Misconfigured(f"{home / 'fleet.toml'} is there already; edit it, or choose another folder with --home")
    ERR.print(f"A new fleet in {home.absolute()}. Enter takes what stands in brackets.")
    text = typer.prompt("Names of your identities, with spaces (one for each ward or data owner)", default="miner")
    names = list(dict.fromkeys(text.replace(",", " ").split()))
    if wrong := [name for name in names if not _NAME.fullmatch(name)]:
        raise Misconfigured(f"{', '.join(wrong)}: a name has letters, digits, . _ and - only; it becomes a file's name")
    path = typer.prompt("File of your consortium (consortium.json), empty for none yet", default="", show_default=False)
    consortium = Path(path).expanduser() if path else None
    if consortium is not None:
        parties = read_consortium(consortium)
        for role, party in (("publisher", parties.publisher), ("aggregator", parties.aggregator)):
            ERR.print(f"{role} {party.address} at {party.url}, fingerprint {fingerprint(party.public_key)}")
        if not typer.confirm("Have you compared these with what their owners told you by another way? Trust them"):
            consortium = None
            ERR.print("nobody is trusted yet; later: flfleet join consortium.json")
    return names, consortium, typer.confirm("Fill the data folders with MNIST digits, to try it out", default=False)


def take_over_keys(home: Path, folder: Path) -> list[str]:
    """Copies keystores and their password files into the home. Returns the identities' names."""
    found = sorted(path for path in folder.glob("*.json") if public_part(path))
    if not found:
        raise Misconfigured(f"{folder}: holds no keystore (*.json)")
    (home / "keys").mkdir(parents=True, exist_ok=True)
    for path in found:
        for file in (path, path.with_suffix(".password")):
            if file.exists():
                shutil.copy2(file, home / "keys" / file.name)
    return [path.stem for path in found]


def write_sample_digits(data: Path, names: Sequence[str], validation: Path | None = None) -> None:
    """Gives each identity a disjoint part of real MNIST digits, and holds another part back as validation data."""
    from pipeline.learning.data.digits import write_digits

    per_miner = min(DIGITS_PER_MINER, (ALL_DIGITS - VALIDATION_DIGITS) // len(names))
    write_digits(data, names, per_miner, validation, VALIDATION_DIGITS)
