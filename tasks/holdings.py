"""What a worker's process holds open: ledger and artifact store, one each, opened at first use and anew after a fork."""

import os
from functools import lru_cache

from pipeline.settings import current
from pipeline.stores.artifacts import ArtifactStore
from pipeline.stores.runs import RunLedger


def ledger() -> RunLedger:
    """This process's ledger of runs."""
    return _ledger(os.getpid())


def artifacts() -> ArtifactStore:
    """This process's artifact store."""
    return _artifacts(os.getpid())


@lru_cache(maxsize=1)
def _ledger(_pid: int) -> RunLedger:
    return RunLedger.open(current())


@lru_cache(maxsize=1)
def _artifacts(_pid: int) -> ArtifactStore:
    return ArtifactStore(current().artifacts, current().cache / "scratch")
