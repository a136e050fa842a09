"""What an aggregator works with: its settings, ledgers, artifacts and kernel. Its key is opened where something is signed."""

import os
from dataclasses import dataclass
from functools import cached_property, lru_cache

from pipeline.curve.contract import Kernel
from pipeline.curve.select import kernel
from pipeline.protocol.signing import SecretKey
from pipeline.settings import Settings, current
from pipeline.stores.aggregator.rounds import RoundLedger
from pipeline.stores.aggregator.slices import SliceLedger
from pipeline.stores.aggregator.submissions import SubmissionLedger
from pipeline.stores.aggregator.verdicts import VerdictLedger
from pipeline.stores.artifacts import ArtifactStore
from pipeline.stores.db.engine import open_database
from pipeline.stores.keys import party_key


@dataclass(frozen=True)
class AggregatorDesk:
    """One aggregator's."""

    settings: Settings
    rounds: RoundLedger
    submissions: SubmissionLedger
    verdicts: VerdictLedger
    slices: SliceLedger
    artifacts: ArtifactStore

    @property
    def kernel(self) -> Kernel:
        """Made once a process."""
        return kernel(self.settings.curve_kernel, self.settings.cache, self.settings.curve_threads)

    @cached_property
    def key(self) -> SecretKey:
        """The aggregator's. Raises Misconfigured."""
        return party_key(self.settings)

    def close(self) -> None:
        """Gives the ledger's connections back."""
        self.rounds.close()
        self.submissions.close()
        self.verdicts.close()
        self.slices.close()


def open_desk(settings: Settings) -> AggregatorDesk:
    """Opens the aggregator's ledgers and store."""
    engine = open_database(settings.ledger)
    return AggregatorDesk(
        settings=settings,
        rounds=RoundLedger(engine, lease_seconds=settings.lease_seconds),
        submissions=SubmissionLedger(engine, lease_seconds=settings.lease_seconds),
        verdicts=VerdictLedger(engine),
        slices=SliceLedger(engine, lease_seconds=settings.lease_seconds),
        artifacts=ArtifactStore(settings.artifacts, settings.cache / "scratch"),
    )


def desk() -> AggregatorDesk:
    """This process's desk, opened at first use and anew after a fork."""
    return _desk(os.getpid())


@lru_cache(maxsize=1)
def _desk(_pid: int) -> AggregatorDesk:
    return open_desk(current())
