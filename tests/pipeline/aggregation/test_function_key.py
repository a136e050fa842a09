import copy
from dataclasses import replace

import pytest

from pipeline.aggregation.function_key import (
    InvalidMasks,
    build_request,
    check_key,
    check_request,
    issue_key,
)
from pipeline.curve.contract import Q
from pipeline.curve.select import kernel
from pipeline.errors import BadSignature, Malformed, Rejected
from pipeline.protocol.encodings import scalar_to_hex
from pipeline.protocol.function_key import FunctionKey, KeyRequest
from pipeline.protocol.signing import digest_of
from tests.known_answers import CASES, NAMES, case_named, raw, secret, submissions_of, support_size, task_of

K = kernel("reference")


def parts(case):
    task = task_of(case)
    return (
        task,
        task.groups(support_size(case)),
        secret(case["aggregatorSecretKey"]),
        secret(case["publisherSecretKey"]),
    )


def known_request(case):
    return KeyRequest.from_envelope(case["request"])


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_the_request_is_the_known_one(case):
    task, groups, aggregator, _ = parts(case)
    request = build_request(task, submissions_of(case), aggregator, groups, K)
    assert request.envelope == case["request"]
    assert request.request_hash == "0x" + digest_of("key-request", case["request"]["request"]).hex()


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_the_key_is_the_known_one_and_the_aggregator_takes_it(case):
    task, groups, _, publisher = parts(case)
    request = known_request(case)
    key = issue_key(task, request, publisher, groups, K)
    assert key.key == b"".join(raw(word) for word in case["functionKey"])
    signed = case["signed"]["key"]
    assert key.body(request) == signed["body"]
    assert "0x" + digest_of("key", key.body(request)).hex() == signed["digest"]
    assert key.signature == signed["signature"]
    check_key(task, request, FunctionKey.decode(key.encode()), groups)


CASE = case_named("packed")
TASK, GROUPS, AGGREGATOR, PUBLISHER = parts(CASE)


def resigned(change, signer=AGGREGATOR):
    """The known request with a change, signed again."""
    document = copy.deepcopy(CASE["request"]["request"])
    change(document)
    return KeyRequest.from_envelope({"request": document, "signature": signer.sign("key-request", document)})


def keep(count):
    def change(document):
        del document["submissions"][count:], document["maskSums"][count:]

    return change


def repeat_first(document):
    document["submissions"][1], document["maskSums"][1] = document["submissions"][0], document["maskSums"][0]


def alter_signature(document):
    document["submissions"][2]["signature"] = document["submissions"][1]["signature"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda document: document.update(round=9), "another task"),
        (lambda document: document.update(taskID="other"), "another task"),
        (lambda document: document.update(taskHash="0x" + "00" * 32), "unknown task hash"),
        (keep(2), "number of participants: from 3 to 5, got 2"),
        (repeat_first, "a miner stands twice"),
        (repeat_first, "a maskKey stands twice"),
        (alter_signature, "submission 2: signature of the miner"),
    ],
)
def test_the_publisher_refuses_a_request_and_says_why(change, reason):
    with pytest.raises(Rejected, match=reason):
        issue_key(TASK, resigned(change), PUBLISHER, GROUPS, K)


def test_more_participants_than_the_task_allows_are_refused():
    with pytest.raises(Rejected, match="from 3 to 3, got 4"):
        issue_key(replace(TASK, max_miners=3), known_request(CASE), PUBLISHER, GROUPS, K)


def test_a_request_that_the_aggregator_did_not_sign_is_refused():
    with pytest.raises(BadSignature, match="the aggregator's key request"):
        issue_key(TASK, resigned(lambda _: None, signer=PUBLISHER), PUBLISHER, GROUPS, K)


def test_a_key_is_issued_by_the_tasks_publisher_alone():
    with pytest.raises(Rejected, match="its publisher is"):
        issue_key(TASK, known_request(CASE), AGGREGATOR, GROUPS, K)


def test_a_request_of_fewer_submissions_is_fine_and_gives_another_key():
    request = resigned(keep(3))
    check_request(TASK, request)
    key = issue_key(TASK, request, PUBLISHER, GROUPS, K)
    assert len(key.key) == 32 * GROUPS
    assert key.key != b"".join(raw(word) for word in CASE["functionKey"])


def test_wrong_mask_sums_name_the_submissions_and_spend_nothing():
    def change(document):
        for index in (0, 3):
            document["maskSums"][index] = scalar_to_hex((int(document["maskSums"][index], 16) + 1) % Q)

    request = resigned(change)
    with pytest.raises(InvalidMasks, match="invalid masks") as refusal:
        issue_key(TASK, request, PUBLISHER, GROUPS, K)
    assert refusal.value.invalid == [request.submissions[i].header.submission_hash for i in (0, 3)]


def test_the_aggregator_refuses_a_key_that_is_not_the_publishers_answer_to_its_request():
    request = known_request(CASE)
    key = issue_key(TASK, request, PUBLISHER, GROUPS, K)
    with pytest.raises(BadSignature, match="the publisher's function key"):
        check_key(TASK, resigned(keep(3)), key, GROUPS)
    with pytest.raises(BadSignature, match="the publisher's function key"):
        check_key(TASK, request, replace(key, key=key.key[32:] + key.key[:32]), GROUPS)
    with pytest.raises(BadSignature, match="the publisher's function key"):
        check_key(TASK, request, replace(key, signature=AGGREGATOR.sign("key", key.body(request))), GROUPS)


@pytest.mark.parametrize(
    ("words", "reason"),
    [(lambda key: key[:-32], "expected 160 bytes"), (lambda key: Q.to_bytes(32, "big") + key[32:], "not below q")],
)
def test_the_aggregator_refuses_a_signed_key_of_another_form(words, reason):
    request = known_request(CASE)
    unsigned = FunctionKey(key=words(issue_key(TASK, request, PUBLISHER, GROUPS, K).key), signature="")
    key = replace(unsigned, signature=PUBLISHER.sign("key", unsigned.body(request)))
    with pytest.raises(Malformed, match=reason):
        check_key(TASK, request, key, GROUPS)
