import hashlib
import json
import os
import time
from typing import Any

import pytest
import requests

from pipeline.protocol.signing import SecretKey
from tests.federation import Federation
from tests.signed_tasks import AGGREGATOR, PUBLISHER, document


@pytest.fixture
def url(federation: Federation):
    with federation.serving("backend"):
        yield federation.urls["backend"]


def post(url: str, task: dict[str, Any]) -> requests.Response:
    return requests.post(f"{url}/tasks", data=json.dumps(task), timeout=5)


def put(url: str, data: Any, digest: str, key: SecretKey | None = PUBLISHER) -> requests.Response:
    headers = {} if key is None else {"X-Signature": key.sign("model", {"modelSHA256": "0x" + digest})}
    return requests.put(f"{url}/models/{digest}", data=data, headers=headers, timeout=5)


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_a_signed_task_is_open_as_it_came(url) -> None:
    task = document(expectedAccuracy=1.0)
    text = json.dumps(task, indent=3)
    assert requests.post(f"{url}/tasks", data=text, timeout=5).status_code == 201
    assert requests.get(f"{url}/tasks/open", timeout=5).text == f"[{text}]"
    assert requests.get(f"{url}/tasks/task_001", timeout=5).text == text


def test_the_same_task_again_is_200_and_another_for_the_round_409(url) -> None:
    first = document()
    assert post(url, first).status_code == 201
    assert post(url, first).status_code == 200
    answer = post(url, document(maxMiners=4))
    assert answer.status_code == 409
    assert "keeps it" in answer.json()["reasons"][0]
    assert requests.get(f"{url}/tasks/open", timeout=5).json() == [first]


def test_only_the_newest_round_before_its_deadline_is_open(url) -> None:
    post(url, document())
    second = document(round=2, parentBlockHash="0x" + "22" * 32)
    post(url, second)
    post(url, document(taskID="over", publishedAt=int(time.time()) - 4000))
    assert requests.get(f"{url}/tasks/open", timeout=5).json() == [second]
    assert requests.get(f"{url}/tasks/task_001", timeout=5).json() == second


def test_a_task_of_nobody_that_is_trusted_is_forbidden(url) -> None:
    stranger = SecretKey(b"\x55" * 32)
    answer = post(url, document(key=stranger, tpPublicKey=stranger.public_key))
    assert answer.status_code == 403
    assert "FLFLEET_TRUSTED_PUBLISHERS" in answer.json()["reasons"][0]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (json.dumps(document(sign=False)), 422),
        (json.dumps(document(key=AGGREGATOR)), 422),
        (json.dumps(document(minMiners=9)), 422),
        ("{", 422),
        ('{"a": 1, "a": 2}', 422),
        ("[]".encode("utf-16"), 422),
        (b"x" * 300_000, 413),
    ],
    ids=["unsigned", "another signer", "malformed", "no JSON", "a key twice", "UTF-16", "too large"],
)
def test_what_is_no_signed_task_is_refused(url, body, status) -> None:
    answer = requests.post(f"{url}/tasks", data=body, timeout=5)
    assert answer.status_code == status
    assert answer.json()["reasons"]
    assert requests.get(f"{url}/tasks/open", timeout=5).json() == []


@pytest.mark.parametrize("key", [PUBLISHER, AGGREGATOR], ids=["publisher", "aggregator"])
def test_a_model_is_kept_under_its_hash(url, key) -> None:
    data = os.urandom(500_000)
    digest = digest_of(data)
    assert put(url, data, digest, key).status_code == 201
    assert put(url, data, digest, key).status_code == 200
    assert requests.get(f"{url}/models/{digest}", timeout=5).content == data


@pytest.mark.parametrize("key", [None, SecretKey(b"\x55" * 32)], ids=["no signature", "a stranger's"])
def test_a_model_that_nobody_trusted_signed_is_forbidden(url, key) -> None:
    assert put(url, b"model", digest_of(b"model"), key).status_code == 403
    assert requests.get(f"{url}/models/{digest_of(b'model')}", timeout=5).status_code == 404


def test_a_signature_over_another_hash_is_forbidden(url) -> None:
    signature = PUBLISHER.sign("model", {"modelSHA256": "0x" + digest_of(b"other")})
    address = f"{url}/models/{digest_of(b'model')}"
    assert requests.put(address, data=b"model", headers={"X-Signature": signature}, timeout=5).status_code == 403


def test_other_bytes_than_the_address_says_are_refused(url) -> None:
    answer = put(url, b"something else", digest_of(b"model"))
    assert answer.status_code == 422
    assert "SHA-256" in answer.json()["reasons"][0]
    assert requests.get(f"{url}/models/{digest_of(b'model')}", timeout=5).status_code == 404


@pytest.mark.parametrize("chunked", [False, True], ids=["with its length", "in chunks"])
def test_a_model_beyond_the_bound_is_not_taken(federation, monkeypatch, chunked) -> None:
    monkeypatch.setenv("FLFLEET_MAX_MODEL_BYTES", "1000")
    data = bytes(2000)
    with federation.serving("backend"):
        body = iter([data[:999], data[999:]]) if chunked else data
        assert put(federation.urls["backend"], body, digest_of(data)).status_code == 413


def test_a_damaged_model_may_be_put_again(federation, url) -> None:
    digest = digest_of(b"model")
    put(url, b"model", digest)
    (federation.folder / "backend" / "artifacts" / digest[:2] / digest).write_bytes(b"rotten")
    assert requests.get(f"{url}/models/{digest}", timeout=5).status_code == 404
    assert put(url, b"model", digest).status_code == 201
    assert requests.get(f"{url}/models/{digest}", timeout=5).content == b"model"


def test_paths_that_are_no_hash_are_refused(url) -> None:
    for name in ("..%2f..%2ffleet.toml", "zz", "A" * 64):
        assert requests.get(f"{url}/models/{name}", timeout=5).status_code in (404, 422)
    assert requests.get(f"{url}/tasks/nothing", timeout=5).status_code == 404


def test_tasks_survive_a_restart(federation) -> None:
    task = document()
    with federation.serving("backend"):
        post(federation.urls["backend"], task)
    with federation.serving("backend"):
        assert requests.get(f"{federation.urls['backend']}/tasks/open", timeout=5).json() == [task]
