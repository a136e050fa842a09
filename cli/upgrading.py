"""`flfleet upgrade`, and what every start asks first: whether the ledger's schema is one that this version knows."""

import json
from contextlib import suppress
from pathlib import Path

from cli.console import ERR, OUT
from pipeline.errors import Retryable
from pipeline.settings import Settings, load
from pipeline.stores.db import schema
from pipeline.stores.db.engine import open_database
from pipeline.stores.db.migrations import state_of, upgrade
from pipeline.stores.db.schema import Fit

_WORDS = {
    Fit.EMPTY: "the ledger is empty",
    Fit.FITS: "the ledger's schema is this version's",
    Fit.OLDER: "the ledger's schema is older than this version's",
    Fit.NEWER: "the ledger was upgraded by a later version, and works with this one",
    Fit.TOO_NEW: "the ledger was upgraded by a later version, and no longer works with this one",
}


def upgrade_ledger(home: Path, *, check: bool, as_json: bool) -> bool:
    """Upgrades the ledger, or with `check` only looks. Returns whether this version can work with what is there now."""
    engine = open_database(load(home).ledger)
    before = state_of(engine) if check else upgrade(engine)
    engine.dispose()
    fits = before in (Fit.FITS, Fit.NEWER) or (before is not Fit.TOO_NEW and not check)
    if as_json:
        OUT.print(json.dumps({"found": before, "revision": schema.REVISION, "fits": fits}), soft_wrap=True)
    else:
        done = "" if check or before not in (Fit.EMPTY, Fit.OLDER) else f"; upgraded to {schema.REVISION}"
        ERR.print(f"{_WORDS[before]}{done}")
    return fits


def check_ledger(settings: Settings) -> None:
    """Raises Misconfigured where this version must not work with the ledger; one that does not answer is waited for later."""
    engine = open_database(settings.ledger)
    try:
        with suppress(Retryable):
            fit = state_of(engine)
            with engine.connect() as connection:
                schema.refuse(connection, fit)
    finally:
        engine.dispose()


def upgrade_own_ledger(settings: Settings) -> None:
    """Upgrades a ledger that lies in the home folder: nobody else works with it. One with an address is upgraded by command."""
    if settings.ledger_url is not None:
        check_ledger(settings)
    elif settings.path("ledger.sqlite").exists():  # a new one is made at its first use
        engine = open_database(settings.ledger)
        upgrade(engine)
        engine.dispose()
