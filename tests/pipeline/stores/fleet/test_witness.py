import pytest

from pipeline.stores.db import lease
from pipeline.stores.db.engine import open_database
from pipeline.stores.fleet.witness import Witnessed, WitnessLedger
from pipeline.stores.fleet.witness_tables import watches

TASK = "0x" + "11" * 32


def open_witness(url: str) -> WitnessLedger:
    return WitnessLedger(open_database(url))


@pytest.fixture
def book(ledger_url):
    one = open_witness(ledger_url)
    yield one
    one.close()


def block(reasons: tuple[str, ...] = ()) -> Witnessed:
    return Witnessed(
        block_hash="0x" + "ab" * 32,
        task_id="task_001",
        round=1,
        task_hash=TASK,
        block=None,
        reasons=reasons,
        evidence=None,
        url="http://127.0.0.1:1/blocks/ab",
        seen_at=1000.0,
    )


def test_one_worker_at_a_time_checks_a_round(book, ledger_url) -> None:
    other = open_witness(ledger_url)
    with (
        book.watching(TASK) as first,
        other.watching(TASK) as second,
        other.watching("0x" + "22" * 32) as another_round,
    ):
        assert (first, second, another_round) == (True, False, True)
    with other.watching(TASK) as afterwards:
        assert afterwards
    other.close()


def test_a_round_is_free_again_after_a_check_that_failed(book) -> None:
    with pytest.raises(ValueError, match="broken"), book.watching(TASK):
        raise ValueError("broken")
    with book.watching(TASK) as ours:
        assert ours


def test_a_silent_workers_round_is_taken_over_and_its_end_frees_nothing(book, ledger_url) -> None:
    slow, third = open_witness(ledger_url), open_witness(ledger_url)
    with slow._writing() as db:
        db.execute(watches.insert().values(task_hash=TASK))
        assert lease.claim(db, watches, watches.c.task_hash == TASK, -1.0) == 1
    with book.watching(TASK) as taken_over, third.watching(TASK) as meanwhile:
        assert (taken_over, meanwhile) == (True, False)
    slow.close()
    third.close()


def test_the_first_verdict_on_a_block_stands(book) -> None:
    book.witness(block(("its root is wrong",)), [])
    book.witness(block(), [])
    (kept,) = book.blocks("task_001", 1)
    assert kept.reasons == ("its root is wrong",)


def test_a_round_ends_once(book) -> None:
    book.end(TASK, "PUBLISHED")
    book.end(TASK, "REJECTED")
    assert book.ended() == {TASK: "PUBLISHED"}
