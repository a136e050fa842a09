import json
import os
import time

import pytest

from pipeline.errors import Misconfigured
from pipeline.settings import load
from pipeline.stages.contract import Stage
from pipeline.stores.artifacts import ArtifactStore
from pipeline.stores.db.owners import this_process
from pipeline.stores.fleet.ledger import RunLedger
from pipeline.stores.fleet.records import State
from tests.home_commands import add, flfleet


def kill(ledger: RunLedger, run_id: str) -> None:
    claim = ledger.claim(run_id, Stage.FETCH, this_process())
    assert claim is not None
    ledger.kill(claim, "no such key")


def test_a_dead_run_is_queued_again_with_fresh_attempts(home, ledger):
    run_id = add(ledger, "one")
    kill(ledger, run_id)
    result = flfleet(home, "runs", "retry", run_id)
    assert result.exit_code == 0
    assert run_id in result.output
    run = ledger.run(run_id)
    assert (run.state, run.stage, run.attempts) == (State.QUEUED, Stage.FETCH, 0)


def test_all_dead_means_the_dead_ones_only(home, ledger):
    dead, queued = add(ledger, "dead"), add(ledger, "queued")
    kill(ledger, dead)
    assert flfleet(home, "runs", "drop", "--all-dead").exit_code == 0
    assert [ledger.run(run_id).state for run_id in (dead, queued)] == [State.DROPPED, State.QUEUED]


def test_an_unknown_run_is_named_and_no_other_is_touched(home, ledger):
    run_id = add(ledger, "one")
    result = flfleet(home, "runs", "drop", run_id, "nonsense")
    assert isinstance(result.exception, Misconfigured)
    assert "no run nonsense" in str(result.exception)
    assert ledger.run(run_id).state is State.QUEUED


@pytest.mark.parametrize("arguments", [[], ["a", "--all-dead"]])
def test_runs_are_named_or_all_dead_but_not_both(home, arguments):
    result = flfleet(home, "runs", "retry", *arguments)
    assert "--all-dead" in str(result.exception)


def test_prune_frees_what_no_run_names_and_keeps_a_fresh_opening(home, ledger):
    settings = load(home)
    store = ArtifactStore(settings.artifacts, settings.cache / "scratch")
    run_id = add(ledger, "sent", publishedAt=int(time.time()) - 3 * 3600)
    names = {"orphan": None, "delta": Stage.TRAIN, "opening": Stage.COMMIT}
    digests = {name: store.put(name.encode()) for name in names}
    for stage in Stage:
        claim = ledger.claim(run_id, stage, this_process())
        assert claim is not None
        ledger.commit(claim, {name: digests[name] for name, its in names.items() if its is stage}, {})
    for digest in digests.values():
        os.utime(store.path(digest), (time.time() - 7200,) * 2)

    dry = flfleet(home, "prune", "--older-than", "0", "--dry-run", "--json")
    assert json.loads(dry.output) == {"artifacts": 2, "cached": 0, "bytes": 11, "dryRun": True}
    assert flfleet(home, "prune", "--older-than", "0").exit_code == 0
    assert {name for name, digest in digests.items() if store.exists(digest)} == {"opening"}


def test_a_home_that_serves_others_is_not_pruned(home, monkeypatch):
    monkeypatch.setenv("FLFLEET_ROLES", "publisher")
    assert "publisher" in str(flfleet(home, "prune").exception)
