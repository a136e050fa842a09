import pytest

from pipeline.aggregation.aggregator import context as desk_module
from pipeline.aggregation.publisher import context as publisher_module
from pipeline.settings import current
from tasks import aggregation, publishing
from tasks.app import AGGREGATE, PUBLISH, ROUTES
from tests.federation import TASK_ID, Federation, encrypted, initial_model, values_of
from tests.federation import federation as federation
from tests.signed_tasks import MINERS


@pytest.fixture
def at_home(federation: Federation, monkeypatch: pytest.MonkeyPatch):
    """Makes this process a party's worker."""

    def enter(name: str) -> None:
        monkeypatch.setenv("FLFLEET_HOME", str(federation.folder / name))
        current.cache_clear()
        desk_module._desk.cache_clear()
        publisher_module._desk.cache_clear()

    yield enter
    desk_module._desk.cache_clear()
    publisher_module._desk.cache_clear()
    current.cache_clear()


@pytest.fixture
def sent(monkeypatch) -> list[tuple]:
    """What would have gone into the queues."""
    found: list[tuple] = []
    for task in (
        aggregation.verify,
        aggregation.close_round,
        aggregation.add_slice,
        aggregation.settle,
        publishing.issue_key,
    ):
        monkeypatch.setattr(task, "apply_async", lambda args=(), task=task, **options: found.append((task.name, *args)))
    return found


def test_the_tasks_take_a_round_from_the_board_to_its_close(federation, at_home, sent) -> None:
    publishing.plan(
        federation.settings("publisher"), document=federation.document(), model=initial_model(), ratios=None
    )
    with federation.serving("backend"), federation.serving("aggregator"):
        at_home("publisher")
        publishing.follow()
        at_home("aggregator")
        aggregation.adopt()
        aggregation.adopt()
    task = federation.aggregator.rounds.find(TASK_ID, 1).task
    numbers = []
    from tests.pipeline.aggregation.aggregator.test_closing import arrive

    for seed, miner in enumerate(MINERS[:3]):
        numbers.append(arrive(federation, encrypted(task, miner, values_of(seed))))
    for number in numbers:
        aggregation.verify(number)
        aggregation.verify(number)
    assert sent == [("flfleet.aggregate.close_round", TASK_ID, 1)]


def test_a_tick_sends_what_nobody_works_on(federation, at_home, sent, monkeypatch) -> None:
    from tests.pipeline.aggregation.aggregator.test_closing import arrive

    monkeypatch.setattr(aggregation, "_IDLE_SECONDS", 0)
    task = federation.open_round()
    number = arrive(federation, encrypted(task, MINERS[0], values_of(0)))
    at_home("aggregator")
    aggregation.tick()
    assert sent == [("flfleet.aggregate.verify", number)]
    federation.aggregator.rounds.begin_closing(TASK_ID, 1)
    sent.clear()
    aggregation.tick()
    assert ("flfleet.aggregate.close_round", TASK_ID, 1) in sent


def test_a_task_that_is_refused_does_not_keep_the_others_away(federation, at_home) -> None:
    import json

    import requests

    from tests.signed_tasks import PUBLISHER

    with federation.serving("backend"):
        for changes in (
            {"taskID": "a", "miners": [PUBLISHER.address, *(one.address for one in MINERS)]},
            {"taskID": "b"},
        ):
            task = federation.signed(**changes)
            assert requests.post(f"{federation.urls['backend']}/tasks", data=json.dumps(task.document), timeout=5).ok
        federation.aggregator.artifacts.put(initial_model())
        at_home("aggregator")
        aggregation.adopt()
    assert [found.task.task_id for found in federation.aggregator.rounds.all()] == ["b"]


@pytest.mark.parametrize(
    ("task", "queue"),
    [
        (aggregation.adopt, AGGREGATE),
        (aggregation.verify, AGGREGATE),
        (aggregation.close_round, AGGREGATE),
        (aggregation.tick, AGGREGATE),
        (publishing.issue_key, PUBLISH),
        (publishing.follow, PUBLISH),
    ],
)
def test_each_task_has_its_queue_and_its_name_in_the_timetable_is_right(task, queue) -> None:
    prefix = task.name.rpartition(".")[0]
    assert ROUTES[f"{prefix}.*"] == {"queue": queue}


def test_a_large_round_is_shared_in_slices_and_the_last_one_closes_it(federation, at_home, sent, monkeypatch) -> None:
    from tests.pipeline.aggregation.aggregator.test_closing import arrive, found

    monkeypatch.setenv("FLFLEET_SLICE_GROUPS", "7")
    task = federation.open_round()
    for seed, miner in enumerate(MINERS[:3]):
        arrive(federation, encrypted(task, miner, values_of(seed)))
    at_home("aggregator")
    for stored in federation.aggregator.submissions.pending():
        aggregation.verify(stored.id)
    with federation.serving("backend"), federation.serving("publisher"), federation.working("publisher_keys"):
        at_home("aggregator")
        sent.clear()
        aggregation.close_round(TASK_ID, 1)
        assert sent.pop(0)[0] == "flfleet.publish.issue_key"
        slices = [("flfleet.aggregate.slice", TASK_ID, 1, index) for index in range(2)]
        assert sent == slices
        sent.clear()
        aggregation.close_round(TASK_ID, 1)  # a tick, before anybody took one
        assert sent == slices
        sent.clear()
        aggregation.add_slice(TASK_ID, 1, 0)
        assert sent == []
        aggregation.add_slice(TASK_ID, 1, 1)
        assert sent == [("flfleet.aggregate.close_round", TASK_ID, 1)]
        aggregation.close_round(TASK_ID, 1)
    assert found(federation).status == "AWAITING_VERIFICATION"
