from pathlib import Path

import pytest

from pipeline.aggregation.publisher.context import PublisherDesk, open_publisher_desk
from pipeline.errors import Retryable
from pipeline.settings import load
from pipeline.stores.publisher.plans import PlanState
from tasks import publishing
from tests.signed_tasks import document


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PublisherDesk:
    """A publisher with three plans, of which the second has ended."""
    opened = open_publisher_desk(load(tmp_path))
    for name in ("a", "b", "c"):
        opened.plans.add(document(sign=False, taskID=name), model="m", ratios=None, stop_at_expected=True)
    ended = opened.plans.claim("b")
    assert ended is not None
    opened.plans.end(ended, PlanState.DONE, "reached")
    monkeypatch.setattr(publishing, "publisher_desk", lambda: opened)
    yield opened
    opened.close()


def test_a_key_request_waits_for_no_plan_that_can_wait(desk: PublisherDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    waiting: list[str] = []

    def follow(_desk: PublisherDesk, task_id: str) -> None:
        order.append(task_id)
        waiting.append(f"request during {task_id}")

    def issue(_desk: PublisherDesk, request_hash: str) -> None:
        order.append(request_hash)
        waiting.remove(request_hash)

    monkeypatch.setattr(publishing.following, "follow", follow)
    monkeypatch.setattr(publishing.issuing, "issue", issue)
    monkeypatch.setattr(type(desk.issued), "pending", lambda _self: list(waiting))
    publishing.follow()
    assert order == ["a", "request during a", "c", "request during c"]


def test_one_plan_and_one_request_that_wait_hold_nobody_up(
    desk: PublisherDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    followed: list[str] = []

    def wait(_desk: PublisherDesk, name: str) -> None:
        followed.append(name)
        raise Retryable("the aggregator is away")

    monkeypatch.setattr(publishing.following, "follow", wait)
    monkeypatch.setattr(publishing.issuing, "issue", wait)
    monkeypatch.setattr(type(desk.issued), "pending", lambda _self: ["r"])
    publishing.follow()
    assert followed == ["r", "a", "r", "c", "r"]
