"""flfleet.verify looks at accepted runs that are not ended, and one that fails holds no other up."""

import json
import os
import time

import pytest

from pipeline.errors import Retryable
from pipeline.protocol.task import Task
from pipeline.stages.contract import Stage
from pipeline.stores.db.owners import this_process
from tasks import verification
from tests.signed_tasks import make_task


@pytest.fixture
def accept(fleet):
    """Makes an accepted run of a task."""
    from tasks.holdings import artifacts, miners

    def accept(task: Task) -> str:
        (miner,) = miners().values()
        fleet.add_task(task)
        run_id = fleet.add_run(task, miner.address, miner.name, max_submissions=9)
        opening = artifacts().put(json.dumps({"score": "5", "nonce": "0x" + "00" * 32}).encode())
        for stage in Stage:
            claim = fleet.claim(run_id, stage, this_process())
            if stage is Stage.SUBMIT:
                fleet.note(claim, "payload", opening)
            fleet.commit(
                claim,
                {"opening": opening} if stage is Stage.COMMIT else {},
                {"submissionHash": "0xab"} if stage is Stage.SUBMIT else {},
            )
        return run_id

    verification._watcher.cache_clear()
    yield accept
    verification._watcher.cache_clear()


def test_every_round_with_an_accepted_run_is_watched_until_it_has_ended(accept, monkeypatch) -> None:
    first, second = make_task(taskID="a"), make_task(taskID="b", modelSHA256="0x" + "cd" * 32)
    accept(first)
    accept(second)
    watched = []

    def watch(watcher, task, sent, now):
        watched.append((task.task_id, [one.submission_hash for one in sent]))
        assert abs(now - time.time()) < 10
        if task.task_id == "a":
            raise Retryable("the aggregator is away")
        watcher.book.end(task.task_hash, "PUBLISHED")
        return "settled"

    monkeypatch.setattr(verification, "watch", watch)
    assert verification.verify() == "2 rounds watched"
    assert verification.verify() == "1 rounds watched"
    assert sorted(watched) == [("a", ["0xab"]), ("a", ["0xab"]), ("b", ["0xab"])]


def test_a_round_that_another_worker_checks_is_left_to_it(accept, monkeypatch) -> None:
    task = make_task(taskID="a")
    accept(task)
    monkeypatch.setattr(verification, "watch", lambda *_arguments: pytest.fail("two workers at one round"))
    with verification._watcher(os.getpid()).book.watching(task.task_hash) as ours:
        assert ours
        assert verification.verify() == "1 rounds watched"
