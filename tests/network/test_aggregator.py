import os
import time

import numpy as np
import pytest
import requests

from pipeline.nddfe.encrypt import Randomness
from pipeline.protocol.encodings import keccak256, sha256, to_hex
from pipeline.protocol.signing import SecretKey, check_embedded_signature
from pipeline.protocol.strict import write_msgpack
from pipeline.protocol.submission import Header, Submission
from pipeline.protocol.task import Task
from pipeline.stores.aggregator.submissions import MAX_REFUSED, SubmissionLedger
from tests.federation import DIMENSION, TASK_ID, Federation, encrypted, values_of, wish_of
from tests.signed_tasks import AGGREGATOR, MINERS


@pytest.fixture
def task(federation: Federation):
    """An open round, its aggregator listening and at work."""
    opened = federation.open_round()
    with federation.serving("aggregator"), federation.working("aggregator"):
        yield opened


def altered(one: Submission, **bodies: bytes | None) -> Submission:
    parts = {"ciphertext": one.ciphertext, "wish": one.wish} | bodies
    return Submission(header=one.header, signature=one.signature, **parts)


def resigned(one: Submission, ciphertext: bytes, miner: SecretKey, **changes: str) -> Submission:
    """Another ciphertext under a header that names it."""
    document = one.header.document | {"ciphertextHash": to_hex(keccak256(ciphertext))} | changes
    signature = miner.sign("submission", document)
    return Submission(header=Header.from_document(document), signature=signature, ciphertext=ciphertext, wish=one.wish)


def refusal(answer: requests.Response, status: int = 422) -> str:
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]
    return " | ".join(answer.json()["reasons"])


def test_a_submission_gets_a_signed_receipt_and_the_same_header_the_same_one(federation, task) -> None:
    one = encrypted(task, MINERS[0], values_of(1), wish=wish_of(1))
    first = federation.send(one)
    assert first.status_code == 202
    assert first.json()["submissionHash"] == one.header.submission_hash
    check_embedded_signature("receipt", first.json(), AGGREGATOR.address, "the aggregator")
    assert abs(first.json()["receivedAt"] - time.time()) < 30
    again = federation.send(one, as_json=True)
    assert (again.status_code, again.json()) == (202, first.json())


def test_another_submission_of_that_miner_is_a_duplicate(federation, task) -> None:
    assert federation.send(encrypted(task, MINERS[0], values_of(1))).status_code == 202
    assert "duplicate" in refusal(federation.send(encrypted(task, MINERS[0], values_of(2))), 409)


def test_json_with_base64_is_as_good_as_msgpack(federation, task) -> None:
    assert federation.send(encrypted(task, MINERS[0], values_of(1), wish=wish_of(1)), as_json=True).status_code == 202


def test_a_round_is_closed_when_all_are_in(federation) -> None:
    task = federation.open_round()
    with federation.serving("aggregator"):
        # No publisher listens, so the round stays where it is.
        with federation.working("aggregator"):
            for seed, miner in enumerate(MINERS[:3]):
                assert federation.send(encrypted(task, miner, values_of(seed))).status_code == 202
        assert "closed" in refusal(federation.send(encrypted(task, MINERS[3], values_of(9))), 410)
        state = requests.get(f"{federation.urls['aggregator']}/aggregator/tasks/{TASK_ID}", timeout=5).json()
        assert (state["status"], state["submissions"], state["expected"], state["history"]) == ("AGGREGATING", 3, 3, [])


def test_after_the_deadline_a_round_is_closed(federation) -> None:
    task = federation.open_round(publishedAt=int(time.time()) - 3600)
    with federation.serving("aggregator"):
        assert "deadline" in refusal(federation.send(encrypted(task, MINERS[0], values_of(1))), 410)


def test_what_is_too_large_is_not_read(federation, task) -> None:
    url = f"{federation.urls['aggregator']}/aggregator/submit-update"
    assert "bytes" in refusal(requests.post(url, data=bytes(200_000), timeout=5), 413)
    # Without a Content-Length the bound holds while it is read.
    assert refusal(requests.post(url, data=iter([bytes(50_000)] * 4), timeout=5), 413)


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("another signer", "signature of the miner: expected"),
        ("not in the roster", "roster"),
        ("another miner's key", "wrong miner key"),
        ("another task hash", "unknown task hash"),
        ("a short ciphertext", "points"),
        ("a point that is none", "curve"),
        ("points that it did not make", "proof of encryption"),
        ("another ciphertext than it signed", "ciphertext hash: expected"),
        ("a wish that it did not sign", "wish"),
        ("a wish that is too large", "wish size"),
    ],
)
def test_every_refusal_has_its_name(federation, task, what: str, reason: str) -> None:
    one = encrypted(task, MINERS[0], values_of(1))
    other = encrypted(task, MINERS[0], values_of(2))
    points = len(one.ciphertext) - (task.groups(DIMENSION) + 8) // 8
    stranger = SecretKey(b"\x77" * 32)
    cases = {
        "another signer": lambda: Submission(
            header=one.header,
            signature=MINERS[1].sign("submission", one.header.document),
            ciphertext=one.ciphertext,
            wish=None,
        ),
        "not in the roster": lambda: encrypted(task, stranger, values_of(1)),
        "another miner's key": lambda: encrypted(task, MINERS[0], values_of(1), minerPublicKey=MINERS[1].public_key),
        "another task hash": lambda: encrypted(task, MINERS[0], values_of(1), taskHash="0x" + "11" * 32),
        "a short ciphertext": lambda: resigned(one, one.ciphertext[:-33], MINERS[0]),
        "a point that is none": lambda: resigned(one, bytes(31) + b"\x05" + one.ciphertext[32:], MINERS[0]),
        "points that it did not make": lambda: resigned(
            one, other.ciphertext[:points] + one.ciphertext[points:], MINERS[0]
        ),
        "another ciphertext than it signed": lambda: altered(one, ciphertext=other.ciphertext),
        "a wish that it did not sign": lambda: altered(one, wish=wish_of(1)),
        "a wish that is too large": lambda: encrypted(task, MINERS[0], values_of(1), wish=wish_of(1, 0.9)),
    }
    assert reason in refusal(federation.send(cases[what]()))
    assert federation.aggregator.submissions.accepted(TASK_ID, 1) == []
    # It costs its sender nothing but that one: the right one is taken.
    assert federation.send(one).status_code == 202


def test_all_reasons_are_named_at_once(federation, task) -> None:
    one = encrypted(task, SecretKey(b"\x77" * 32), values_of(1), taskHash="0x" + "11" * 32)
    reasons = refusal(federation.send(one))
    assert "roster" in reasons
    assert "unknown task hash" in reasons


def test_an_unknown_task_is_said_to_be_one(federation, task) -> None:
    elsewhere = federation.signed(taskID="another")
    assert "unknown task" in refusal(federation.send(encrypted(elsewhere, MINERS[0], values_of(1))), 404)


def test_a_mask_key_of_two_submissions_is_refused_so_that_the_publisher_does_not_refuse_the_round(
    federation, task
) -> None:
    shared = Randomness.fresh()
    assert federation.send(encrypted(task, MINERS[0], values_of(1), randomness=shared)).status_code == 202
    assert "maskKey" in refusal(federation.send(encrypted(task, MINERS[1], values_of(2), randomness=shared)), 409)


def test_random_bytes_and_random_points_never_get_in(federation, task) -> None:
    url = f"{federation.urls['aggregator']}/aggregator/submit-update"
    for size in (0, 1, 40, 3000):
        assert requests.post(url, data=os.urandom(size), timeout=5).status_code == 422
    assert requests.post(url, json={"header": {}, "signature": "0x"}, timeout=5).status_code == 422
    assert requests.post(url, data=write_msgpack([1, 2]), timeout=5).status_code == 422
    one = encrypted(task, MINERS[0], values_of(1))
    count = task.groups(DIMENSION) + 1
    keys = [SecretKey.generate().point33 for _ in range(count)]
    signs = np.packbits([key[0] & 1 for key in keys], bitorder="little").tobytes()
    random_points = b"".join(key[1:] for key in keys) + signs
    assert "proof of encryption" in refusal(federation.send(resigned(one, random_points, MINERS[0])))
    assert federation.aggregator.submissions.accepted(TASK_ID, 1) == []


def test_a_member_that_keeps_sending_what_is_refused_is_not_heard_any_more(federation, task) -> None:
    one = encrypted(task, MINERS[0], values_of(1))
    for number in range(MAX_REFUSED):
        refusal(federation.send(resigned(one, os.urandom(64) + bytes([number]), MINERS[0])))
    assert "refused" in refusal(federation.send(one), 409)


def test_what_was_refused_leaves_no_bytes_behind(federation, task) -> None:
    bad = resigned(encrypted(task, MINERS[0], values_of(1)), b"nonsense", MINERS[0])
    refusal(federation.send(bad))
    stored = federation.aggregator.submissions.known(bad.header, sha256(bad.encode()).hex())
    assert stored is not None
    assert not federation.aggregator.artifacts.exists(stored.ciphertext)


def test_while_nobody_verifies_the_client_is_asked_to_come_again(federation, monkeypatch) -> None:
    monkeypatch.setattr("network.aggregator.answer_of.__defaults__", (0.1,))
    task = federation.open_round()
    one = encrypted(task, MINERS[0], values_of(1))
    with federation.serving("aggregator"):
        answer = federation.send(one)
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) >= 1
        with federation.working("aggregator"):
            end = time.monotonic() + 5
            while (answer := federation.send(one)).status_code == 503:
                assert time.monotonic() < end
        assert answer.status_code == 202


def test_a_receipt_survives_a_restart(federation) -> None:
    task = federation.open_round()
    one = encrypted(task, MINERS[0], values_of(1))
    with federation.serving("aggregator"), federation.working("aggregator"):
        before = federation.send(one).json()
    with federation.serving("aggregator"):
        after = federation.send(one)
    assert (after.status_code, after.json()) == (202, before)


def test_nobody_is_shown_a_submission_before_the_key_is_issued(federation, task: Task) -> None:
    one = encrypted(task, MINERS[0], values_of(1))
    assert federation.send(one).status_code == 202
    url = f"{federation.urls['aggregator']}/aggregator/submissions/{one.header.submission_hash}"
    assert requests.get(url, timeout=5).status_code == 404


def test_tasks_idle_and_unknown_are_answered_as_json(federation, task) -> None:
    base = f"{federation.urls['aggregator']}/aggregator"
    (listed,) = requests.get(f"{base}/tasks", timeout=5).json()
    assert listed == requests.get(f"{base}/tasks/{TASK_ID}", timeout=5).json()
    assert listed == {
        "taskID": TASK_ID,
        "round": 1,
        "status": "IDLE",
        "dimension": DIMENSION,
        "submissions": 0,
        "expected": 3,
        "accuracy": None,
        "expectedAccuracy": 1.0,
        "blockHash": None,
        "history": [],
    }
    for path in ("tasks/nothing", "tasks/%00", f"blocks/0x{'00' * 32}", f"blocks/0x{'00' * 32}/audit"):
        assert requests.get(f"{base}/{path}", timeout=5).status_code == 404
    assert requests.get(f"{base}/blocks/zzz", timeout=5).status_code == 422
    assert requests.get(f"{federation.urls['aggregator']}/healthz", timeout=5).json() == {"status": "ok"}


def test_the_page_shows_tasks_escapes_and_loads_nothing_from_elsewhere(federation, task) -> None:
    base = f"{federation.urls['aggregator']}/aggregator"
    page = requests.get(base, timeout=5)
    assert TASK_ID in page.text
    assert "IDLE" in page.text
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert "http://" not in page.text
    assert "https://" not in page.text
    assert "style=" not in page.text
    panel = requests.get(f"{base}/panel", timeout=5).text
    assert panel.strip() in page.text
    for name in ("style.css", "page.js", "icon.svg"):
        assert f"/aggregator/static/{name}" in page.text
        assert requests.get(f"{base}/static/{name}", timeout=5).status_code == 200
    assert requests.get(f"{base}/static/panel.html", timeout=5).status_code == 404


def test_a_broker_that_is_away_loses_nothing(federation, monkeypatch) -> None:
    from kombu.exceptions import OperationalError

    def away(*_args: object, **_options: object) -> None:
        raise OperationalError("connection refused")

    monkeypatch.setattr("tasks.aggregation.verify.apply_async", away)
    task = federation.open_round()
    with federation.serving("aggregator"), federation.working("aggregator"):
        assert federation.send(encrypted(task, MINERS[0], values_of(1))).status_code == 202


def test_a_ledger_that_is_busy_is_a_503(federation, monkeypatch) -> None:
    from pipeline.errors import Retryable

    def busy(*_args: object) -> None:
        raise Retryable("ledger: busy")

    task = federation.open_round()
    monkeypatch.setattr(SubmissionLedger, "receive", busy)
    with federation.serving("aggregator"):
        assert federation.send(encrypted(task, MINERS[0], values_of(1))).status_code == 503
