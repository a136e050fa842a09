"""`flfleet join`: a consortium's parties into fleet.toml, which keeps its comments and its order."""

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

import tomlkit
from rich.table import Table
from tomlkit.exceptions import TOMLKitError

from cli.console import OUT
from cli.consortium import Consortium
from cli.person import who
from pipeline.errors import Misconfigured
from pipeline.settings import load
from pipeline.stores.fleet.ledger import RunLedger
from pipeline.stores.keys import identities


def fingerprint(public_key: str) -> str:
    """Twelve groups of four hex digits to read aloud: of SHA-256 over the key's 64 bytes."""
    digest = hashlib.sha256(bytes.fromhex(public_key.replace("0x", "").replace(",", ""))).hexdigest()
    return " ".join(digest[at : at + 4] for at in range(0, 48, 4))


def show_parties(home: Path, parties: Consortium) -> None:
    """Prints who is in the file, and which of them fleet.toml trusts already. Raises Misconfigured."""
    settings = load(home)
    own = {identity.address: identity.name for identity in identities(settings)}
    table = Table("party", "address", "fingerprint", "where", "")
    for role, party, listed in (
        ("publisher", parties.publisher, settings.trusted_publishers),
        ("aggregator", parties.aggregator, settings.trusted_aggregators),
    ):
        known = "trusted already" if party.address in listed else "new"
        table.add_row(role, party.address, fingerprint(party.public_key), party.url, known)
    for address in parties.miners:
        known = own.get(address) or ("known already" if address in settings.known_miners else "new")
        table.add_row("miner", address, "", "", known)
    table.add_row("backend", "", "", parties.backend, "" if settings.backend_url == parties.backend else "new")
    OUT.print(table)


def join(home: Path, parties: Consortium) -> dict[str, int]:
    """Adds the parties to the trust lists and names the backend. Returns how many each list grew by. Raises Misconfigured."""
    path = home / "fleet.toml"
    try:
        document = tomlkit.parse(path.read_text())
    except OSError:
        raise Misconfigured(f"{path}: not there; make a home first with: flfleet init --home {home}") from None
    except (TOMLKitError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{path} is not valid TOML: {error}") from None
    wanted = {
        "trusted_publishers": [parties.publisher.address],
        "trusted_aggregators": [parties.aggregator.address],
        "known_miners": parties.miners,
    }
    grown = {name: _add(document, name, addresses) for name, addresses in wanted.items()}
    document["backend_url"] = parties.backend
    before = load(home)
    _replace(path, tomlkit.dumps(document))
    book = RunLedger.open(load(home))
    book.record("consortium joined", by=who(), **wanted, backend=parties.backend, backendBefore=before.backend_url)
    book.close()
    return grown


def _add(document: Any, name: str, addresses: list[str]) -> int:
    if name not in document:
        # Before the first table: behind it, it would be that table's.
        document.insert(0, name, tomlkit.array()) if hasattr(document, "insert") else document.add(name, [])
    listed = document[name]
    if not isinstance(listed, list):
        raise Misconfigured(f"fleet.toml: {name} must be a list of addresses, got {type(listed).__name__}")
    known = {str(address).lower() for address in listed}
    fresh = [address for address in addresses if address not in known]
    for address in fresh:
        listed.append(address)
    return len(fresh)


def _replace(path: Path, text: str) -> None:
    """Whole or not at all; the file's permissions stay."""
    mode = path.stat().st_mode & 0o777
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".fleet-", suffix=".toml")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        raise Misconfigured(f"{path}: cannot be written ({error.strerror})") from None
