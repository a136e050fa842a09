"""What a publisher works with: its settings, ledgers, artifacts and kernel. Its key is opened where something is signed."""

import os
from dataclasses import dataclass
from functools import cached_property, lru_cache

from pipeline.curve.contract import Kernel
from pipeline.curve.select import kernel
from pipeline.protocol.encodings import count_bits
from pipeline.protocol.signing import SecretKey
from pipeline.settings import Settings, current
from pipeline.stores.aggregator.verdicts import VerdictLedger
from pipeline.stores.artifacts import ArtifactStore
from pipeline.stores.db.engine import open_database
from pipeline.stores.keys import party_key
from pipeline.stores.publisher.issued_keys import IssuedLedger
from pipeline.stores.publisher.plans import PlanLedger, SignedTask


@dataclass(frozen=True)
class PublisherDesk:
    """One publisher's."""

    settings: Settings
    plans: PlanLedger
    issued: IssuedLedger
    verdicts: VerdictLedger
    artifacts: ArtifactStore

    @property
    def kernel(self) -> Kernel:
        """Made once a process."""
        return kernel(self.settings.curve_kernel, self.settings.cache, self.settings.curve_threads)

    @cached_property
    def key(self) -> SecretKey:
        """The publisher's. Raises Misconfigured."""
        return party_key(self.settings)

    def coordinates(self, signed: SignedTask) -> int:
        """The size k of a round's support."""
        if signed.support is None:
            return signed.task.dimension
        return count_bits(self.artifacts.opened(signed.support), signed.task.dimension, "support")

    def close(self) -> None:
        """Gives the ledger's connections back."""
        self.plans.close()
        self.issued.close()
        self.verdicts.close()


def open_publisher_desk(settings: Settings) -> PublisherDesk:
    """Opens the publisher's ledgers and store."""
    engine = open_database(settings.ledger)
    return PublisherDesk(
        settings=settings,
        plans=PlanLedger(engine, lease_seconds=settings.lease_seconds),
        issued=IssuedLedger(engine, lease_seconds=settings.lease_seconds),
        verdicts=VerdictLedger(engine),
        artifacts=ArtifactStore(settings.artifacts, settings.cache / "scratch"),
    )


def publisher_desk() -> PublisherDesk:
    """This process's desk, opened at first use and anew after a fork."""
    return _desk(os.getpid())


@lru_cache(maxsize=1)
def _desk(_pid: int) -> PublisherDesk:
    return open_publisher_desk(current())
