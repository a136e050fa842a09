import hashlib
import json
import threading

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError

from pipeline.errors import Corrupt
from pipeline.stores.db.owners import this_process
from pipeline.stores.fleet.audit import BEGINNING
from pipeline.stores.fleet.records import Stage
from pipeline.stores.fleet.tables import audit
from tests.signed_tasks import AGGREGATOR, MINERS, make_task

ME = this_process()


def whole_run(ledger) -> str:
    run_id = ledger.add_run(make_task(), MINERS[0].address, "ward-7")
    figures = {
        Stage.DATA: {"dataset": "d" * 64},
        Stage.TRAIN: {"epochs": 2, "privacy": {"epsilon": 0.5}},
        Stage.SUBMIT: {"submissionHash": "0xab", "payloadBytes": 9, "receivedAt": 1},
    }
    for stage in Stage:
        claim = ledger.claim(run_id, stage, ME)
        if stage is Stage.SUBMIT:
            ledger.note(claim, "payload", "a" * 64)
        ledger.commit(claim, {}, figures.get(stage, {}))
    return run_id


def test_a_run_tells_what_was_trained_on_which_data_and_what_left_to_whom(ledger):
    run_id = whole_run(ledger)
    trained, leaves, received = (entry.members for entry in ledger.audit_entries())
    assert (trained["event"], trained["datasetDigest"], trained["epsilon"]) == ("trained", "d" * 64, 0.5)
    assert (leaves["event"], leaves["payload"]) == ("update leaves", "a" * 64)
    assert leaves["aggregatorPublicKey"] == AGGREGATOR.public_key
    assert (received["event"], received["submissionHash"]) == ("update received", "0xab")
    assert {entry["run"] for entry in (trained, leaves, received)} == {run_id}
    assert {entry["dataset"] for entry in (trained, leaves, received)} == {"digits"}


def test_each_line_names_the_hash_of_the_one_before(ledger):
    whole_run(ledger)
    before = BEGINNING
    for number, entry in enumerate(ledger.audit_entries(), 1):
        assert (entry.members["number"], entry.members["previous"]) == (number, before)
        before = hashlib.sha256(b"flfleet audit 1\n" + entry.line.encode()).hexdigest()
        assert json.loads(entry.as_json_line())["hash"] == before
    assert ledger.check_audit().hash == before


def test_entries_of_many_threads_make_one_chain(open_ledger):
    ledger = open_ledger()
    threads = [threading.Thread(target=lambda: [ledger.record("tick") for _ in range(10)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ledger.check_audit().number == 40


@pytest.mark.parametrize("statement", ["UPDATE audit SET line = 'x'", "DELETE FROM audit"])
def test_the_database_refuses_to_change_the_log(ledger, statement):
    ledger.record("tick")
    with pytest.raises(DatabaseError, match="append-only"), ledger._engine.begin() as db:
        db.execute(text(statement))


def force(ledger, *statements) -> None:
    """What somebody does who owns the database."""
    with ledger._engine.begin() as db:
        if ledger._postgres:
            db.execute(text("DROP TRIGGER audit_append_only ON audit"))
        else:
            db.execute(text("DROP TRIGGER audit_no_update"))
            db.execute(text("DROP TRIGGER audit_no_delete"))
        for statement in statements:
            db.execute(statement)


def three(ledger) -> list:
    for number in range(3):
        ledger.record("tick", count=number)
    return list(ledger.audit_entries())


def test_a_changed_line_is_found(ledger):
    entries = three(ledger)
    changed = entries[1].line.replace('"count":1', '"count":9')
    force(ledger, audit.update().where(audit.c.number == 2).values(line=changed))
    with pytest.raises(Corrupt, match="line 2 was changed"):
        ledger.check_audit()


def test_a_changed_line_with_a_hash_to_match_breaks_the_next_one(ledger):
    entries = three(ledger)
    changed = entries[1].line.replace('"count":1', '"count":9')
    digest = hashlib.sha256(b"flfleet audit 1\n" + changed.encode()).hexdigest()
    force(ledger, audit.update().where(audit.c.number == 2).values(line=changed, hash=digest))
    with pytest.raises(Corrupt, match="line 3 was changed, or the one before"):
        ledger.check_audit()


def test_a_line_that_is_missing_is_found(ledger):
    three(ledger)
    force(ledger, audit.delete().where(audit.c.number == 2))
    with pytest.raises(Corrupt, match="line 2 is missing"):
        ledger.check_audit()


def test_a_log_that_was_cut_short_lacks_the_hash_that_was_noted_down(ledger):
    noted = three(ledger)[-1].hash
    assert ledger.check_audit(noted).number == 3
    force(ledger, audit.delete().where(audit.c.number == 3))
    assert ledger.check_audit().number == 2  # by itself it looks whole
    with pytest.raises(Corrupt, match="not in this log"):
        ledger.check_audit(noted)
