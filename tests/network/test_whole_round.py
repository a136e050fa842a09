"""From a plan to two blocks, over real HTTP: three parties, three miners, no shortcuts."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np
import pytest
import requests

from cli.verification import verify_block, verify_chain
from pipeline.parties.aggregator import submit
from pipeline.parties.blocks import fetch_audit
from pipeline.parties.http import fetch_bytes
from pipeline.protocol.block import Block
from pipeline.protocol.encodings import indices_from_bitmap, keccak256, to_hex
from pipeline.protocol.signing import canonical
from pipeline.protocol.strict import read_json
from pipeline.protocol.task import Task
from pipeline.stores.aggregator.tables import rounds
from pipeline.stores.publisher.plans import PlanState
from tasks.publishing import plan
from tests.databases import KINDS, empty_database
from tests.federation import DIMENSION, TASK_ID, Federation, encrypted, initial_model, values_of, wish_of
from tests.signed_tasks import AGGREGATOR, MINERS


@pytest.fixture(params=KINDS)
def federation(request, tmp_path, monkeypatch) -> Iterator[Federation]:
    """The three parties, a database each."""
    with ExitStack() as stack:
        names = ("backend", "publisher", "aggregator")
        databases = {name: stack.enter_context(empty_database(request.param, tmp_path / name)) for name in names}
        one = Federation(tmp_path / "federation", monkeypatch, databases)
        yield one
        one.close()


def test_two_rounds_from_the_plan_to_the_last_block_and_back(federation: Federation, capsys) -> None:
    plan(
        federation.settings("publisher"),
        document=federation.document(),
        model=initial_model(),
        ratios=[0.5, 0.25],
        stop_at_expected=False,
    )
    with (
        federation.serving("backend"),
        federation.serving("publisher"),
        federation.serving("aggregator"),
        federation.working("publisher", "aggregator", "miners"),
    ):
        first = task_of(federation, 1)
        sent = send_all(federation, first, DIMENSION)
        one = finished(federation, 1)
        assert one["status"] == "BACK_TO_TRAINING"
        assert one["submissions"] == 3
        assert one["coordinates"] == DIMENSION
        assert one["dropped"] == 0
        audit = fetch_audit(federation.urls["aggregator"], one["blockHash"], max_bytes=10**6, timeout=5)
        assert np.array_equal(np.frombuffer(audit.aggregate, dtype="<i8"), sent)

        second = task_of(federation, 2)
        assert second.parent_block_hash == one["blockHash"]
        assert second.ratio == 0.25
        assert second.support is not None
        bitmap = fetch_bytes(second.support.url, max_bytes=10**4, timeout=5)
        assert to_hex(keccak256(bitmap)) == second.support.hash
        support = indices_from_bitmap(bitmap, DIMENSION)
        assert len(support) == 20
        send_all(federation, second, len(support))
        two = finished(federation, 2)
        assert two["status"] == "FAILED_ACCURACY"
        assert two["coordinates"] == 20
        eventually(lambda: federation.publisher.plans.find(TASK_ID).state is PlanState.DONE)  # type: ignore[union-attr]
        state = task_state(federation)
        assert [entry["round"] for entry in state["history"]] == [1, 2]
        assert state["accuracy"] == two["accuracy"]
        page = requests.get(f"{federation.urls['aggregator']}/aggregator", timeout=5).text
        assert two["blockHash"] in page
        assert "FAILED ACCURACY" in page

        home = federation.folder / "backend"
        url = f"{federation.urls['aggregator']}/aggregator/blocks/{two['blockHash']}"
        assert verify_block(home, url, as_json=True)
        assert json.loads(capsys.readouterr().out)["votes"] == "published by its participants' votes"
        assert verify_chain(home, TASK_ID, as_json=True)
        walked = json.loads(capsys.readouterr().out)["chain"]
        assert [(link["round"], link["blockHash"]) for link in walked] == [(2, two["blockHash"]), (1, one["blockHash"])]

        rewrite_history(federation, one["blockHash"])
        assert not verify_chain(home, TASK_ID, as_json=True)
        assert f"no block {one['blockHash']}" in capsys.readouterr().out


def rewrite_history(federation: Federation, block_hash: str) -> None:
    """The aggregator signs another block for a round that is over."""
    row = federation.aggregator.rounds.by_block(block_hash).row  # type: ignore[union-attr]
    document = {**read_json(row.block), "accuracy": 1.0}
    document["signature"] = AGGREGATOR.sign("block", document)
    block = Block.decode(canonical(document))
    with federation.aggregator.rounds._writing() as connection:
        values = {"block": canonical(document).decode(), "block_hash": block.block_hash}
        connection.execute(rounds.update().where(rounds.c.block_hash == block_hash).values(values))


def task_of(federation: Federation, number: int) -> Task:
    """The round's task from the board, once the aggregator has it too."""
    eventually(lambda: federation.aggregator.rounds.find(TASK_ID, number) is not None)
    task = Task.decode(fetch_bytes(f"{federation.urls['backend']}/tasks/{TASK_ID}", max_bytes=10**6, timeout=5))
    assert task.round == number
    return task


def send_all(federation: Federation, task: Task, size: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.int64]]":
    """Three miners send; returns the sum of what they sent."""
    sums = np.zeros(size, dtype=np.int64)
    for seed, miner in enumerate(MINERS[:3]):
        values = values_of(seed, size)
        one = encrypted(task, miner, values, wish=wish_of(seed, task.ratio))
        submit(
            federation.urls["aggregator"],
            one.encode(),
            submission_hash=one.header.submission_hash,
            aggregator_address=AGGREGATOR.address,
            timeout=30,
        )
        sums += values
    return sums


def finished(federation: Federation, number: int) -> dict:
    eventually(lambda: any(entry["round"] == number for entry in task_state(federation)["history"]))
    return next(entry for entry in task_state(federation)["history"] if entry["round"] == number)


def task_state(federation: Federation) -> dict:
    url = f"{federation.urls['aggregator']}/aggregator/tasks/{TASK_ID}"
    return read_json(fetch_bytes(url, max_bytes=10**6, timeout=5))


def eventually(check, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)
