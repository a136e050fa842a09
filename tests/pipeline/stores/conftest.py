from collections.abc import Callable, Iterator

import pytest

from pipeline.stores.db.engine import open_database
from pipeline.stores.fleet.ledger import RunLedger
from tests.databases import ledger_url as ledger_url


@pytest.fixture
def open_ledger(ledger_url) -> Iterator[Callable[..., RunLedger]]:
    opened: list[RunLedger] = []

    def opener(**options) -> RunLedger:
        opened.append(RunLedger(open_database(ledger_url), **options))
        return opened[-1]

    yield opener
    for ledger in opened:
        ledger.close()


@pytest.fixture
def ledger(open_ledger) -> RunLedger:
    return open_ledger(max_attempts=3)
