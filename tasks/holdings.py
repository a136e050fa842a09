"""What a worker's process holds: ledger, artifact store, identities; opened at first use, and the first two anew after a fork."""

import os
from collections.abc import Mapping
from functools import lru_cache

from pipeline.settings import current
from pipeline.stores.artifacts import ArtifactStore
from pipeline.stores.keys import Identity, identities
from pipeline.stores.runs import RunLedger


def ledger() -> RunLedger:
    """This process's ledger of runs."""
    return _ledger(os.getpid())


def artifacts() -> ArtifactStore:
    """This process's artifact store."""
    return _artifacts(os.getpid())


@lru_cache(maxsize=1)
def miners() -> Mapping[str, Identity]:
    """This fleet's identities by address; as the settings, they are read once. Raises Misconfigured."""
    return {identity.address: identity for identity in identities(current())}


@lru_cache(maxsize=1)
def _ledger(_pid: int) -> RunLedger:
    return RunLedger.open(current())


@lru_cache(maxsize=1)
def _artifacts(_pid: int) -> ArtifactStore:
    return ArtifactStore(current().artifacts, current().cache / "scratch")
