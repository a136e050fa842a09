import time

import pytest
import requests

from pipeline.aggregation.function_key import build_request
from pipeline.aggregation.publisher import issuing
from pipeline.protocol.function_key import FunctionKey, KeyRequest, SignedHeader
from pipeline.protocol.signing import SecretKey, canonical
from pipeline.protocol.task import Task
from tests.federation import DIMENSION, KERNEL, TASK_ID, Federation, encrypted, values_of
from tests.signed_tasks import AGGREGATOR, MINERS


@pytest.fixture
def task(federation: Federation):
    opened = federation.open_round()
    with federation.serving("publisher"), federation.working("publisher"):
        yield opened


def request_of(task: Task, seeds: range = range(3), key: SecretKey = AGGREGATOR) -> KeyRequest:
    sent = [encrypted(task, MINERS[seed], values_of(seed)) for seed in seeds]
    headers = [SignedHeader(header=one.header, signature=one.signature) for one in sent]
    return build_request(task, headers, key, task.groups(DIMENSION), KERNEL)


def ask(federation: Federation, request: KeyRequest) -> requests.Response:
    url = f"{federation.urls['publisher']}/publisher/function-key"
    return requests.post(url, data=canonical(request.envelope), timeout=30)


def test_the_same_request_gets_the_same_key_over_a_restart_and_another_one_409(federation) -> None:
    task = federation.open_round()
    request = request_of(task)
    with federation.serving("publisher"), federation.working("publisher"):
        first = ask(federation, request)
    assert first.status_code == 200
    assert first.headers["Content-Type"] == "application/msgpack"
    assert len(FunctionKey.decode(first.content).key) == 32 * task.groups(DIMENSION)
    with federation.serving("publisher"):  # and nobody at work: the answer is stored
        assert ask(federation, request).content == first.content
        other = ask(federation, request_of(task))
    assert other.status_code == 409
    assert "another request" in other.json()["reasons"][0]


def test_of_two_requests_at_once_one_gets_the_key(federation) -> None:
    task = federation.open_round()
    one, two = request_of(task), request_of(task)
    issued = federation.publisher.issued
    issued.receive(one)
    issued.receive(two)
    for request in (one, two):
        issuing.issue(federation.publisher, request.request_hash)
    with federation.serving("publisher"):
        assert ask(federation, one).status_code == 200
        assert ask(federation, two).status_code == 409


def test_invalid_masks_are_named_and_nothing_is_spent(federation, task) -> None:
    good = request_of(task)
    sums = list(good.document["maskSums"])
    sums[1] = "0x" + "00" * 31 + "07"
    document = good.document | {"maskSums": sums}
    bad = KeyRequest.from_envelope({"request": document, "signature": AGGREGATOR.sign("key-request", document)})
    for _ in range(2):
        answer = ask(federation, bad)
        assert answer.status_code == 422
        assert answer.json()["invalid"] == [good.submissions[1].header.submission_hash]
    assert ask(federation, good).status_code == 200


def test_another_ones_request_is_refused(federation, task) -> None:
    answer = ask(federation, request_of(task, key=SecretKey(b"\x55" * 32)))
    assert answer.status_code == 422
    assert "the aggregator" in answer.json()["reasons"][0]
    assert federation.publisher.issued.pending() == []


def test_an_aggregator_that_is_not_trusted_any_more_gets_nothing(federation, monkeypatch) -> None:
    monkeypatch.setenv("FLFLEET_TRUSTED_AGGREGATORS", MINERS[0].address)
    task = federation.open_round()
    with federation.serving("publisher"):
        answer = ask(federation, request_of(task))
    assert answer.status_code == 403
    assert "FLFLEET_TRUSTED_AGGREGATORS" in answer.json()["reasons"][0]


def test_an_unknown_round_and_another_task_hash_are_refused(federation, task) -> None:
    assert ask(federation, request_of(federation.signed(taskID="another"))).status_code == 404
    other = federation.signed(publishedAt=int(time.time()) - 5)
    answer = ask(federation, request_of(other))
    assert answer.status_code == 422
    assert "task hash" in answer.json()["reasons"][0]


def test_too_few_submissions_get_no_key(federation, task) -> None:
    answer = ask(federation, request_of(task, range(2)))
    assert answer.status_code == 422
    assert "number of participants: from 3 to 3, got 2" in answer.json()["reasons"][0]
    assert ask(federation, request_of(task)).status_code == 200


@pytest.mark.parametrize("body", [b"", b"{}", b'{"request": {}, "signature": "0x"}', b"\xff\xfe"])
def test_what_is_no_request_is_refused(federation, task, body) -> None:
    url = f"{federation.urls['publisher']}/publisher/function-key"
    assert requests.post(url, data=body, timeout=5).status_code == 422


def test_while_nobody_works_the_client_is_asked_to_come_again(federation, monkeypatch) -> None:
    monkeypatch.setattr("network.publisher.answer_of.__defaults__", (0.1,))
    task = federation.open_round()
    request = request_of(task)
    with federation.serving("publisher"):
        answer = ask(federation, request)
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) >= 1
        federation.publish()
        assert ask(federation, request).status_code == 200


def test_a_support_that_nobody_signed_is_not_found(federation, task) -> None:
    base = f"{federation.urls['publisher']}/publisher/supports"
    assert requests.get(f"{base}/0x{'00' * 32}", timeout=5).status_code == 404
    assert requests.get(f"{base}/..", timeout=5).status_code in (404, 422)
    assert federation.publisher.plans.find(TASK_ID) is not None
