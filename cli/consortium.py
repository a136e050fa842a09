"""`consortium.json`: who the parties of a consortium are. A local network writes it; `flfleet init` turns it into trust lists."""

from pathlib import Path

import msgspec

from pipeline.errors import Malformed, Misconfigured
from pipeline.protocol.encodings import address_from_text, address_of, point33_from_public_key
from pipeline.protocol.strict import convert, read_json

_MAX_BYTES = 1024 * 1024


class Party(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A publisher or an aggregator."""

    address: str
    public_key: str
    url: str


class Consortium(msgspec.Struct, frozen=True, kw_only=True):
    """All parties of a consortium."""

    backend: str
    publisher: Party
    aggregator: Party
    miners: list[str]


def read_consortium(path: Path) -> Consortium:
    """Reads and checks the file. Raises Misconfigured with what is wrong."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise Malformed(f"larger than {_MAX_BYTES} bytes")
        consortium = convert(read_json(data), Consortium, "consortium")
        for party in (consortium.publisher, consortium.aggregator):
            if address_of(point33_from_public_key(party.public_key)) != address_from_text(party.address):
                raise Malformed(f"{party.address} is not the address of its publicKey")
        for miner in consortium.miners:
            address_from_text(miner, "miners")
    except OSError as error:
        raise Misconfigured(f"{path}: {error.strerror}; `flfleet localnet` writes this file") from None
    except Malformed as error:
        raise Misconfigured(f"{path}: {error}") from None
    return consortium


def write_consortium(path: Path, consortium: Consortium) -> None:
    """Writes the file for others to read."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(consortium), indent=2) + b"\n")


def read_roster(path: Path) -> list[str]:
    """A roster file: a JSON list of addresses, or one address a line. Raises Misconfigured."""
    try:
        text = path.read_text()
        entries = read_json(text) if text.lstrip().startswith("[") else text.split()
        roster = [address_from_text(entry.lower() if isinstance(entry, str) else "", "roster") for entry in entries]
    except OSError as error:
        raise Misconfigured(f"{path}: {error.strerror}") from None
    except Malformed as error:
        raise Misconfigured(f"{path}: {error}") from None
    if not roster or len(set(roster)) != len(roster):
        raise Misconfigured(f"{path}: must list one or more distinct addresses")
    return roster
