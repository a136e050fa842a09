import json

import pytest

from cli.consortium import Consortium, Party, write_consortium
from cli.init import initialise
from cli.join import fingerprint
from cli.person import who
from pipeline.protocol.signing import SecretKey
from pipeline.settings import load
from pipeline.stores.artifacts import ArtifactStore
from pipeline.stores.db.owners import this_process
from pipeline.stores.fleet.records import Stage, State
from tests.home_commands import add, flfleet
from tests.known_answers import MINERS as KNOWN_MINERS
from tests.known_answers import submission_of, support_size, task_of


def test_a_pause_is_seen_in_the_ledger_and_listed_with_its_reason(home, ledger):
    run_id = add(ledger, "one")
    result = flfleet(home, "pause", "fetch", "--reason", "service")
    assert "closes at" in result.stderr  # the person learns what may be missed
    assert ledger.claim(run_id, "fetch", this_process()) is None
    assert "service" in flfleet(home, "pause").stdout
    assert flfleet(home, "resume", "fetch").exit_code == 0
    assert ledger.claim(run_id, "fetch", this_process()) is not None


@pytest.mark.parametrize("arguments", [["fetch", "--all"], ["fetsch"]])
def test_a_pause_of_two_things_or_of_none_that_there_is_is_refused(home, ledger, arguments):
    assert flfleet(home, "pause", *arguments).exception is not None
    assert ledger.stops() == []


def test_a_drain_waits_for_what_runs(home, ledger):
    run_id = add(ledger, "one")
    claim = ledger.claim(run_id, "fetch", this_process())
    late = flfleet(home, "drain", "--all", "--timeout", "0")
    assert late.exit_code == 1
    assert "1 still run" in late.stderr
    assert claim is not None
    ledger.commit(claim, {}, {})
    assert flfleet(home, "drain", "--all").exit_code == 0


def test_leaving_a_task_gives_up_what_has_not_left_and_says_what_has(home, ledger):
    unsent, sent = add(ledger, "left"), add(ledger, "left", round=2, parentBlockHash="0x" + "0" * 64)
    for stage in list(Stage)[:-1]:
        claim = ledger.claim(sent, stage, this_process())
        assert claim is not None
        ledger.commit(claim, {}, {})
    claim = ledger.claim(sent, Stage.SUBMIT, this_process())
    assert claim is not None
    ledger.note(claim, "payload", "a" * 64)
    result = flfleet(home, "leave", "left", "--reason", "study ended")
    assert "round 2 of ward-7: its submission may be out" in result.stderr
    assert ledger.run(unsent).state is State.DROPPED
    assert ledger.run(sent).state is State.RUNNING
    assert flfleet(home, "leave", "left", "--undo").exit_code == 0
    assert flfleet(home, "leave", "left", "--undo").exception is not None


def test_a_task_is_listed_shown_and_approved(home, ledger):
    run_id = add(ledger, "one", held=True)
    (row,) = json.loads(flfleet(home, "tasks", "list", "--json").stdout)
    assert (row["taskID"], row["runs"], row["word"]) == ("one", {"held": 1}, None)
    assert "'digits'" in flfleet(home, "tasks", "show", "one").stdout
    assert flfleet(home, "tasks", "approve", "one", "--reason", "board of 3 May").exit_code == 0
    assert ledger.run(run_id).state is State.QUEUED
    (entry,) = ledger.audit_entries()
    assert (entry.members["by"], entry.members["reason"]) == (who(), "board of 3 May")


def test_the_audit_log_is_printed_as_json_lines_and_checked(home, ledger):
    flfleet(home, "pause", "--all")
    flfleet(home, "resume", "--all")
    lines = [json.loads(line) for line in flfleet(home, "audit", "log", "--json").stdout.splitlines()]
    assert [line["event"] for line in lines] == ["fleet stopped", "fleet goes on"]
    checked = json.loads(flfleet(home, "audit", "check", "--json").stdout)
    assert checked == {"holds": True, "entries": 2, "head": lines[-1]["hash"]}
    assert flfleet(home, "audit", "check", "--known", lines[0]["hash"]).exit_code == 0
    lost = flfleet(home, "audit", "check", "--known", "f" * 64)
    assert lost.exit_code == 1


def test_what_leaves_names_every_field_of_the_bytes_that_were_sent(home, ledger):
    settings = load(home)
    store = ArtifactStore(settings.artifacts, settings.cache / "scratch")
    case, miner = next((case, miner) for case, miner in KNOWN_MINERS if case["task"].get("support") and miner["wish"])
    submission, task, size = submission_of(miner), task_of(case), support_size(case)
    run_id = ledger.add_run(task, submission.header.miner, "ward-7")
    assert run_id is not None
    for stage in list(Stage)[:-1]:
        claim = ledger.claim(run_id, stage, this_process())
        assert claim is not None
        ledger.commit(
            claim, {}, {Stage.FETCH: {"coordinates": size}, Stage.TRAIN: {"privacy": {"epsilon": 0.5}}}.get(stage, {})
        )
    nothing = json.loads(flfleet(home, "what-leaves", run_id, "--json").stdout)
    assert nothing["sent"] is False
    claim = ledger.claim(run_id, Stage.SUBMIT, this_process())
    assert claim is not None
    payload = submission.encode()
    ledger.note(claim, "payload", store.put(payload))
    left = json.loads(flfleet(home, "what-leaves", run_id, "--json").stdout)
    assert left["bytes"] == len(payload)
    assert left["fields"]["header"] == submission.header.document
    assert left["scoreCommit"] == submission.header.score_commit
    assert (left["coordinates"], left["epsilon"]) == (size, 0.5)
    assert any(f"together can decrypt all {size} values" in sentence for sentence in left["reveals"])
    spent = json.loads(flfleet(home, "privacy", "--json").stdout)["dataSets"]
    assert [(row["dataset"], row["submissions"], row["epsilon"]) for row in spent] == [(task.dataset, 1, 0.5)]


@pytest.fixture
def consortium(tmp_path):
    publisher, aggregator = (SecretKey.generate() for _ in range(2))
    parties = Consortium(
        backend="http://backend:3000",
        publisher=Party(address=publisher.address, public_key=publisher.public_key, url="http://publisher:3002"),
        aggregator=Party(address=aggregator.address, public_key=aggregator.public_key, url="http://aggregator:3001"),
        miners=[SecretKey.generate().address for _ in range(3)],
    )
    write_consortium(tmp_path / "consortium.json", parties)
    return parties


def test_joining_fills_the_trust_lists_and_keeps_the_comments(home, tmp_path, consortium):
    initialise(home, ["ward-7"], None, None, sample_digits=False)
    before = [line for line in (home / "fleet.toml").read_text().splitlines() if line.startswith("#")]
    result = flfleet(home, "join", str(tmp_path / "consortium.json"), stdin="y\n")
    assert result.exit_code == 0, result.output
    settings = load(home)
    assert settings.trusted_publishers == [consortium.publisher.address]
    assert settings.trusted_aggregators == [consortium.aggregator.address]
    assert settings.known_miners == consortium.miners
    assert settings.backend_url == consortium.backend
    assert [line for line in (home / "fleet.toml").read_text().splitlines() if line.startswith("#")] == before
    again = flfleet(home, "join", str(tmp_path / "consortium.json"), "--yes")
    assert "known_miners: 0 added" in again.output
    assert load(home) == settings


def test_without_a_yes_nothing_is_trusted(home, tmp_path, consortium):
    initialise(home, ["ward-7"], None, None, sample_digits=False)
    before = (home / "fleet.toml").read_bytes()
    result = flfleet(home, "join", str(tmp_path / "consortium.json"), stdin="n\n")
    assert result.exit_code == 1
    assert (home / "fleet.toml").read_bytes() == before


def test_a_fleet_toml_without_the_lists_gets_them_in_front_of_its_tables(home, tmp_path, consortium):
    initialise(home, ["ward-7"], None, None, sample_digits=False)
    lines = (home / "fleet.toml").read_text().splitlines()
    lists = ("trusted_publishers", "trusted_aggregators", "known_miners", "backend_url")
    (home / "fleet.toml").write_text("\n".join(line for line in lines if not line.startswith(lists)) + "\n")
    assert flfleet(home, "join", str(tmp_path / "consortium.json"), "--yes").exit_code == 0
    assert load(home).trusted_publishers == [consortium.publisher.address]
    assert [miner.name for miner in load(home).miner] == ["ward-7"]


def test_a_fingerprint_is_that_of_the_key_and_not_of_its_spelling(consortium):
    x, y = consortium.publisher.public_key.split(",")
    assert fingerprint(f"0x{x.upper()},0x{y}") == fingerprint(f"{x},{y}")
    assert fingerprint(consortium.aggregator.public_key) != fingerprint(f"{x},{y}")
