"""What a worker's process holds: ledger, artifact store, identities; opened at first use, and the first two anew after a fork."""

import os
from collections.abc import Mapping
from functools import lru_cache

from pipeline.errors import Misconfigured
from pipeline.protocol.signing import SecretKey
from pipeline.settings import current
from pipeline.stores.artifacts import ArtifactStore
from pipeline.stores.fleet.ledger import RunLedger
from pipeline.stores.keys import Identity, identities, secret_key


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


def identity_of(address: str) -> Identity:
    """This fleet's identity of an address. Raises Misconfigured."""
    identity = miners().get(address)
    if identity is None:
        raise Misconfigured(f"no [[miner]] of fleet.toml has the address {address}; restore its keystore")
    return identity


def used_key(address: str, purpose: str, **of: str) -> SecretKey:
    """An identity's secret key, and a line in the audit log that it was used, what for and `of` what. Raises Misconfigured."""
    key = secret_key(current(), address)
    ledger().record("key used", purpose=purpose, miner=address, **of)
    return key


@lru_cache(maxsize=1)
def _ledger(_pid: int) -> RunLedger:
    return RunLedger.open(current())


@lru_cache(maxsize=1)
def _artifacts(_pid: int) -> ArtifactStore:
    return ArtifactStore(current().artifacts, current().cache / "scratch")
