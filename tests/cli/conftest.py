from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.settings import load
from pipeline.stores.fleet.ledger import RunLedger


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def ledger(home: Path) -> Iterator[RunLedger]:
    """The home's ledger."""
    book = RunLedger.open(load(home))
    yield book
    book.close()
