import copy
import json

import pytest

from pipeline.errors import BadSignature, Malformed
from pipeline.protocol.task import Task
from tests.known_answers import CASES, NAMES, case_named, raw, secret

DOCUMENT = case_named("packed")["task"]


def changed(**changes):
    """The known task with members replaced, or taken out where the value is `None`; `a__b` reaches into a."""
    document = copy.deepcopy(DOCUMENT)
    for path, value in changes.items():
        *outer, name = path.split("__")
        place = document
        for part in outer:
            place = place[part]
        if value is None:
            del place[name]
        else:
            place[name] = value
    return document


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_the_known_tasks_decode(case):
    task = Task.decode(json.dumps(case["task"]))
    assert task.task_hash == case["taskHash"]
    assert (task.level, task.base) == (case["level"], case["base"])
    assert task.publisher_key == secret(case["publisherSecretKey"]).point33
    assert task.aggregator_address == secret(case["aggregatorSecretKey"]).address
    assert task.model_sha256 == raw(case["task"]["modelSHA256"])
    assert task.groups(len(case["aggregate"])) == len(case["functionKey"])
    task.check_signature()


def test_members_that_are_not_known_are_hashed():
    assert Task.from_document(changed(comment="new")).task_hash != Task.from_document(DOCUMENT).task_hash


def test_defaults_are_read_and_never_filled_in_before_hashing():
    task = Task.from_document(changed(training=None, timeout=None, maxRounds=None, expectedAccuracy=None))
    assert (task.training.epochs, task.timeout, task.max_rounds, task.expected_accuracy) == (1, 3600, 1, None)
    assert task.deadline == task.published_at + 3600
    assert set(task.document).isdisjoint({"training", "timeout", "maxRounds", "expectedAccuracy"})


def test_another_members_change_breaks_the_signature():
    with pytest.raises(BadSignature, match="the publisher"):
        Task.from_document(changed(dataset="other")).check_signature()
    with pytest.raises(BadSignature, match="missing"):
        Task.from_document(changed(signature=None)).check_signature()


def test_the_sum_bound_is_what_n_miners_at_their_limit_reach():
    task = Task.from_document(DOCUMENT)
    assert task.sum_bound(4) == sum(4 * 3 * 31**i for i in range(5))


REQUIRED = [
    "protocol taskID round dataset dimension modelSHA256 aggregatorPublicKey tpPublicKey aggregatorURL publisherURL",
    "miners minMiners maxMiners compression compression__ratio quantization quantization__scale quantization__clip",
    "quantization__pack publishedAt support__url support__hash",
]


@pytest.mark.parametrize("member", " ".join(REQUIRED).split())
def test_a_missing_member_is_named(member):
    with pytest.raises(Malformed, match=member.split("__")[-1]):
        Task.from_document(changed(**{member: None}))


@pytest.mark.parametrize("member", " ".join(REQUIRED).split())
@pytest.mark.parametrize("value", [True, {"a": 1}, [None]], ids=str)
def test_a_member_of_another_type_is_refused(member, value):
    with pytest.raises(Malformed):
        Task.from_document(changed(**{member: value}))


HEX31, KEY = "0x" + "00" * 31, DOCUMENT["tpPublicKey"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"protocol": "ndd-fe/2"}, "expected 'ndd-fe/1'"),
        ({"taskID": ""}, "taskID must match"),
        ({"taskID": "a" * 65}, "taskID must match"),
        ({"taskID": "a/b"}, "taskID must match"),
        ({"taskID": "a\n"}, "taskID must match"),
        ({"round": 0}, "round must be"),
        ({"round": 2**31}, "round must be"),
        ({"dimension": 0}, "dimension must be"),
        ({"modelURL": None}, "one of modelURL and modelIPFSHash"),
        ({"modelSHA256": HEX31}, "modelSHA256: expected 32 bytes, got 31"),
        ({"aggregatorPublicKey": "1,2"}, "aggregatorPublicKey"),
        ({"tpPublicKey": KEY[:-1] + ("0" if KEY[-1] != "0" else "1")}, "tpPublicKey: not a point"),
        ({"dataset": "../etc"}, "dataset must be a plain name"),
        ({"dataset": ".hidden"}, "dataset must be a plain name"),
        ({"dataset": ""}, "dataset must be a plain name"),
        ({"minMiners": 0}, "minMiners <= maxMiners"),
        ({"minMiners": 6}, "minMiners <= maxMiners"),
        ({"miners": []}, "distinct addresses"),
        ({"miners": [DOCUMENT["miners"][0]] * 2}, "distinct addresses"),
        ({"miners": [DOCUMENT["miners"][0].upper()]}, "task: miners"),
        ({"compression__ratio": 0}, "ratio must be"),
        ({"compression__ratio": 1.01}, "ratio must be"),
        ({"quantization__scale": 0}, "quantization needs"),
        ({"quantization__scale": 2**31 + 1}, "quantization needs"),
        ({"quantization__clip": 0}, "quantization needs"),
        ({"quantization__clip": -1.0}, "quantization needs"),
        ({"quantization__pack": 0}, "quantization needs"),
        ({"quantization__clip": 0.001}, "at least 1 and below"),
        ({"quantization__clip": 1e300}, "at least 1 and below"),
        ({"quantization__pack": 9}, "beyond 2^40"),
        ({"quantization__pack": 10**9}, "beyond 2^40"),
        ({"parentBlockHash": None}, "parentBlockHash is needed"),
        ({"parentBlockHash": HEX31}, "parentBlockHash: expected 32 bytes"),
        ({"support__hash": HEX31}, "support.hash: expected 32 bytes"),
        ({"expectedAccuracy": 1.5}, "expectedAccuracy must be"),
        ({"timeout": 0}, "must be positive"),
        ({"maxRounds": 0}, "must be positive"),
        ({"publishedAt": -1}, "must be positive"),
        ({"training__epochs": "many"}, "epochs"),
        ({"round": 1.5}, "round"),
    ],
    ids=str,
)
def test_a_bad_member_is_refused_and_named(changes, reason):
    with pytest.raises(Malformed) as refusal:
        Task.from_document(changed(**changes))
    assert reason in str(refusal.value)


def test_all_reasons_are_given_at_once():
    with pytest.raises(Malformed) as refusal:
        Task.from_document(changed(round=0, dimension=0, miners=[]))
    assert len(refusal.value.reasons) == 3


def test_the_largest_pack_that_fits_is_taken():
    # 31^8 is below 2^40, 31^9 is not.
    assert Task.from_document(changed(quantization__pack=8)).quantization.pack == 8


@pytest.mark.parametrize("document", [None, [], "task", 5])
def test_what_is_no_object_is_no_task(document):
    with pytest.raises(Malformed, match="expected a JSON object"):
        Task.from_document(document)
