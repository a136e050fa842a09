"""CARs by js-ipfs and Helia, good and bad (tests/vectors/ipfs/index.json says which)."""

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "vectors" / "ipfs"
INDEX: dict[str, Any] = json.loads((FOLDER / "index.json").read_text())
CARS, BAD_CARS = INDEX["cars"], INDEX["bad_cars"]


def original(car: dict[str, Any]) -> bytes:
    return (FOLDER / car["original"]["file"]).read_bytes()


def car_bytes(name: str) -> bytes:
    return (FOLDER / name).read_bytes()
