import os
import time

from pipeline.settings import current
from pipeline.stores.db.engine import open_database
from pipeline.stores.fleet.witness import Witnessed, WitnessLedger
from tasks.holdings import artifacts
from tasks.retention import prune_rounds, prune_runs
from tests.federation import Federation
from tests.federation import federation as federation


def old(store, data: bytes) -> str:
    digest = store.put(data)
    os.utime(store.path(digest), (time.time() - 7200,) * 2)
    return digest


def test_evidence_against_a_block_stays(fleet):
    store, settings = artifacts(), current()
    evidence, orphan = old(store, b"evidence"), old(store, b"orphan")
    book = WitnessLedger(open_database(settings.ledger))
    found = Witnessed(
        block_hash="0x" + "ab" * 32,
        task_id="task_001",
        round=1,
        task_hash="0x" + "cd" * 32,
        block=None,
        reasons=("the sum is wrong",),
        evidence=evidence,
        url="http://127.0.0.1:1",
        seen_at=0.0,
    )
    book.witness(found, [])
    book.close()
    prune_runs(fleet, store, settings, days=0)
    assert store.exists(evidence)
    assert not store.exists(orphan)


def test_a_sum_in_the_making_and_its_ciphertexts_stay(federation: Federation):
    federation.open_round()
    desk = federation.aggregator
    part, sums, orphan = (old(desk.artifacts, data) for data in (b"part", b"sums", b"orphan"))
    desk.rounds.begin_closing("task_001", 1)
    lease = desk.rounds.claim("task_001", 1)
    desk.rounds.store_request(lease, "0x01", {})
    desk.slices.plan("task_001", 1, "0x01", [range(10)])
    taken = desk.slices.claim("0x01", 0)
    desk.slices.finish(taken, aggregate=part, mask_sums=sums, dropped=[])
    prune_rounds(desk, desk.settings, days=0)
    assert [desk.artifacts.exists(digest) for digest in (part, sums, orphan)] == [True, True, False]
