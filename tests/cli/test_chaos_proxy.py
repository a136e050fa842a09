from collections.abc import Iterator

import pytest
import requests

from cli.chaos_proxy import RETRY_AFTER_SECONDS, AggregatorProxy, Mood
from tests.scripted_server import Script, serving


@pytest.fixture
def upstream() -> Iterator[Script]:
    with serving(Script(answers=[(202, {"receipt": "yes"}, {"X-Own": "kept"})])) as script:
        yield script


@pytest.fixture
def proxy(upstream: Script) -> Iterator[AggregatorProxy]:
    one = AggregatorProxy(upstream.url)
    yield one
    one.close()


def post(proxy: AggregatorProxy, path: str = "/aggregator/submit-update") -> requests.Response:
    return requests.post(proxy.url + path, data=b"body", timeout=5)


def test_an_honest_proxy_passes_everything_on(proxy: AggregatorProxy, upstream: Script) -> None:
    answer = post(proxy)
    assert (answer.status_code, answer.json(), answer.headers["X-Own"]) == (202, {"receipt": "yes"}, "kept")
    assert upstream.requests == [("/aggregator/submit-update", b"body")]


@pytest.mark.parametrize(("mood", "status"), [(Mood.UNAVAILABLE, 503), (Mood.TOO_MANY, 429)])
def test_a_refusing_mood_keeps_the_aggregator_out_of_it(
    proxy: AggregatorProxy, upstream: Script, mood: Mood, status: int
) -> None:
    proxy.mood = mood
    answer = post(proxy)
    assert answer.status_code == status
    assert answer.headers.get("Retry-After") == (str(RETRY_AFTER_SECONDS) if status == 429 else None)
    assert upstream.requests == []
    assert proxy.spoiled == 1


def test_a_reset_comes_after_the_aggregator_has_the_submission(proxy: AggregatorProxy, upstream: Script) -> None:
    proxy.mood = Mood.RESET
    with pytest.raises(requests.ConnectionError):
        post(proxy)
    assert len(upstream.requests) == 1
    assert requests.get(f"{proxy.url}/aggregator/tasks", timeout=5).status_code == 202


def test_a_late_answer_is_later_than_the_client_waits(
    proxy: AggregatorProxy, upstream: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.chaos_proxy.LATE_SECONDS", 0.6)
    proxy.mood = Mood.LATE
    with pytest.raises(requests.ReadTimeout):
        requests.post(f"{proxy.url}/aggregator/submit-update", data=b"body", timeout=0.2)
    assert len(upstream.requests) == 1


def test_an_aggregator_that_is_away_is_a_bad_gateway(proxy: AggregatorProxy) -> None:
    away = AggregatorProxy("http://127.0.0.1:1")
    try:
        assert post(away).status_code == 502
    finally:
        away.close()
