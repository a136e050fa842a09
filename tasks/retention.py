"""flfleet.prune and flfleet.aggregate.prune: once a night, what nothing needs any more goes. `flfleet prune` does the same."""

import time

import structlog

from pipeline.aggregation.aggregator.context import AggregatorDesk, desk
from pipeline.errors import Retryable
from pipeline.settings import Settings, current
from pipeline.stores import pruning, retention
from pipeline.stores.artifacts import ArtifactStore
from pipeline.stores.db.engine import open_database
from pipeline.stores.fleet.ledger import RunLedger
from pipeline.stores.fleet.witness import WitnessLedger
from pipeline.stores.pruning import Removed
from pipeline.stores.retention import Terms
from tasks.app import app
from tasks.holdings import artifacts, ledger

DAY_SECONDS = 24 * 3600.0
_log = structlog.get_logger(__name__)


@app.task(name="flfleet.prune", ignore_result=True, throws=(Retryable,))
def prune() -> str:
    """Artifacts of ended runs, checkpoints, scratch copies, prepared data sets."""
    return _said(prune_runs(ledger(), artifacts(), current()))


@app.task(name="flfleet.aggregate.prune", ignore_result=True, throws=(Retryable,))
def prune_aggregator() -> str:
    """Ciphertexts and sums of rounds whose reveal is over."""
    return _said(prune_rounds(desk(), current()))


def prune_runs(
    book: RunLedger, store: ArtifactStore, settings: Settings, *, days: float | None = None, dry_run: bool = False
) -> Removed:
    """Prunes a miner's home; `days` in place of FLFLEET_RETENTION_DAYS. No opening goes before its reveal window has closed."""
    terms, now = terms_of(settings, days), time.time()
    return pruning.prune(
        store,
        settings.cache,
        lambda: (
            retention.named_by_runs(book.runs(), book.task, terms, now)
            | book.retraining_checkpoints()
            | _evidence(settings)
        ),
        now=now,
        cache_seconds=terms.ended_seconds,
        dry_run=dry_run,
    )


def prune_rounds(
    its: AggregatorDesk, settings: Settings, *, days: float | None = None, dry_run: bool = False
) -> Removed:
    """Prunes an aggregator's home."""
    terms, now = terms_of(settings, days), time.time()
    return pruning.prune(
        its.artifacts,
        settings.cache,
        lambda: retention.named_by_rounds(its.rounds.all(), its.submissions.bodies, terms, now) | _slices(its),
        now=now,
        cache_seconds=terms.ended_seconds,
        dry_run=dry_run,
    )


def terms_of(settings: Settings, days: float | None = None) -> Terms:
    """The settings' terms. What protects openings is not for a command's option to shorten."""
    ended = settings.retention_days if days is None else days
    return Terms(ended_seconds=ended * DAY_SECONDS, opening_seconds=settings.opening_retention_days * DAY_SECONDS)


def _evidence(settings: Settings) -> set[str]:
    """What proves that a block was wrong, for ever."""
    book = WitnessLedger(open_database(settings.ledger))
    try:
        return {found.evidence for found in book.blocks() if found.evidence is not None}
    finally:
        book.close()


def _slices(its: AggregatorDesk) -> set[str]:
    """The parts of sums that are being made."""
    requests = [found.row.request_hash for found in its.rounds.moving() if found.row.request_hash is not None]
    parts = [part for request in requests for part in its.slices.all(request)]
    return {digest for part in parts for digest in (part.aggregate, part.mask_sums) if digest is not None}


def _said(removed: Removed) -> str:
    _log.info("pruned", artifacts=removed.artifacts, cached=removed.cached, bytes=removed.bytes)
    return f"{removed.artifacts} artifacts, {removed.cached} cached, {removed.bytes} bytes"
