"""A round that is cut into slices closes as an uncut one does, whoever dies."""

import time
from dataclasses import replace

import numpy as np
import pytest

from pipeline.aggregation.aggregator import slicing
from pipeline.aggregation.aggregator.closing import close_round
from pipeline.aggregation.aggregator.context import AggregatorDesk
from pipeline.aggregation.aggregator.deadlines import rounds_due
from pipeline.errors import Corrupt
from pipeline.protocol.block import Audit, Block
from pipeline.stores.aggregator.rounds import RoundState
from pipeline.stores.aggregator.slices import Slice
from pipeline.stores.db import lease
from pipeline.stores.db.lease import LeaseLost
from tests.federation import TASK_ID, Federation
from tests.federation import federation as federation
from tests.pipeline.aggregation.aggregator.test_closing import fill, found, network, sums

__all__ = ["network"]


def cut_into(federation: Federation, groups: int) -> AggregatorDesk:
    """The aggregator's desk, with slices of that many groups."""
    desk = federation.aggregator
    return replace(desk, settings=desk.settings.model_copy(update={"slice_groups": groups}))


def slices(desk: AggregatorDesk, federation: Federation) -> list[Slice]:
    return desk.slices.all(found(federation).row.request_hash)


def due(desk: AggregatorDesk, federation: Federation) -> list[int]:
    return slicing.due(desk, found(federation))


def closed_sums(federation: Federation) -> list[int]:
    row = found(federation).row
    assert row.state == RoundState.AWAITING_VERIFICATION
    audit = Audit.decode(federation.aggregator.artifacts.get(row.audit))
    assert Block.decode(row.block).block_hash == row.block_hash
    return np.frombuffer(audit.aggregate, dtype="<i8").tolist()


@pytest.mark.parametrize("size", [1, 7, 10**6])
def test_every_size_of_slices_closes_the_round_with_the_same_sums(network, size) -> None:
    task = network.open_round()
    desk = cut_into(network, size)
    fill(network, task)
    assert close_round(desk, TASK_ID, 1)
    groups = task.groups(task.dimension)
    if size < groups:
        assert found(network).state is RoundState.CLOSING
        assert found(network).row.reason == f"0 of {-(-groups // size)} slices are added up"
        last = [slicing.add_slice(desk, TASK_ID, 1, index) for index in due(desk, network)]
        assert last == [False] * (len(last) - 1) + [True]
        assert close_round(desk, TASK_ID, 1)
    assert closed_sums(network) == sums()
    assert due(desk, network) == []


@pytest.fixture
def half_done(network):
    """A round of several slices, the first of which is added up."""
    fill(network, network.open_round())
    desk = cut_into(network, 7)
    close_round(desk, TASK_ID, 1)
    assert slicing.add_slice(desk, TASK_ID, 1, 0) is False
    return desk


def finish(desk: AggregatorDesk, federation: Federation) -> None:
    for index in due(desk, federation):
        slicing.add_slice(desk, TASK_ID, 1, index)
    close_round(desk, TASK_ID, 1)


def test_a_killed_worker_s_slice_is_due_again_and_counted(half_done, network, monkeypatch) -> None:
    request = found(network).row.request_hash
    with monkeypatch.context() as patch:
        host, boot, _, _ = lease.this_process().split("|")
        patch.setattr(lease, "this_process", lambda: f"{host}|{boot}|2147483646|1")
        killed = half_done.slices.claim(request, 1)
    assert killed is not None
    assert due(half_done, network)[0] == 1
    assert rounds_due(half_done, time.time()) == [(TASK_ID, 1)]
    finish(half_done, network)
    assert slices(half_done, network)[1].attempts == 1
    assert closed_sums(network) == sums()
    with pytest.raises(LeaseLost):
        half_done.slices.finish(killed, aggregate="0" * 64, mask_sums="0" * 64, dropped=[])


def test_a_living_worker_s_slice_is_left_to_it(half_done, network) -> None:
    request = found(network).row.request_hash
    assert half_done.slices.claim(request, 1) is not None
    assert 1 not in due(half_done, network)
    assert slicing.add_slice(half_done, TASK_ID, 1, 1) is False
    assert half_done.slices.claim(request, 1) is None


def test_a_result_stands(half_done, network) -> None:
    before = slices(half_done, network)[0]
    assert slicing.add_slice(half_done, TASK_ID, 1, 0) is False
    assert slices(half_done, network)[0] == before


def test_a_result_that_was_damaged_is_made_again(half_done, network) -> None:
    for index in due(half_done, network):
        slicing.add_slice(half_done, TASK_ID, 1, index)
    half_done.artifacts.delete(slices(half_done, network)[1].aggregate)
    assert close_round(half_done, TASK_ID, 1)
    assert "result was damaged" in found(network).row.reason
    assert due(half_done, network) == [1]
    finish(half_done, network)
    assert closed_sums(network) == sums()


def test_a_slice_that_takes_workers_down_ends_its_round_with_the_reason(half_done, network, monkeypatch) -> None:
    request = found(network).row.request_hash
    with monkeypatch.context() as patch:
        host, boot, _, _ = lease.this_process().split("|")
        patch.setattr(lease, "this_process", lambda: f"{host}|{boot}|2147483646|1")
        for _ in range(slicing.MAX_ATTEMPTS):
            assert half_done.slices.claim(request, 1) is not None
    assert slicing.add_slice(half_done, TASK_ID, 1, 1)
    assert 1 not in due(half_done, network)
    close_round(half_done, TASK_ID, 1)
    assert found(network).row.state == RoundState.ABORTED
    assert found(network).row.reason == "slice 1 ended 5 times without a result"


def test_a_ciphertext_that_is_damaged_says_so_in_the_round_s_reason(half_done, network) -> None:
    stored = half_done.submissions.accepted(TASK_ID, 1)[0]
    half_done.artifacts.delete(stored.ciphertext)
    with pytest.raises(Corrupt):
        slicing.add_slice(half_done, TASK_ID, 1, 1)
    close_round(half_done, TASK_ID, 1)
    assert f"slice 1: artifact {stored.ciphertext} is missing" in found(network).row.reason
    assert 1 in due(half_done, network)


def test_another_setting_after_a_restart_changes_no_plan(half_done, network) -> None:
    count = len(slices(half_done, network))
    close_round(cut_into(network, 1), TASK_ID, 1)
    assert len(slices(half_done, network)) == count
