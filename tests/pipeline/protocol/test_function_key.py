import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.curve.contract import Q
from pipeline.errors import Malformed
from pipeline.protocol.encodings import scalar_to_hex
from pipeline.protocol.function_key import FunctionKey, KeyRequest
from pipeline.protocol.strict import write_msgpack
from tests.known_answers import CASES, NAMES, case_named

ENVELOPE = case_named("packed")["request"]


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_the_known_requests_decode_and_encode(case):
    request = KeyRequest.decode(json.dumps(case["request"]).encode())
    assert request.envelope == case["request"]
    assert request.request_hash == case["signed"]["key"]["body"]["requestHash"]
    assert [one.header.submission_hash for one in request.submissions] == [
        miner["submissionHash"] for miner in case["miners"]
    ]


def changed(change):
    envelope = copy.deepcopy(ENVELOPE)
    change(envelope)
    return envelope


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda e: e.pop("signature"), "signature is missing"),
        (lambda e: e.update(request=[]), "expected {request, signature}"),
        (lambda e: e["request"].pop("maskSums"), "maskSums"),
        (lambda e: e["request"]["maskSums"].pop(), "one mask sum a submission"),
        (lambda e: e["request"]["maskSums"].__setitem__(0, scalar_to_hex(Q)), "maskSums: not below"),
        (lambda e: e["request"].update(taskHash="0x00"), "taskHash: expected 32 bytes"),
        (lambda e: e["request"]["submissions"][0]["header"].pop("proof"), "missing required field `proof`"),
        (lambda e: e["request"]["submissions"][0].pop("signature"), "signature"),
    ],
)
def test_a_bad_request_is_refused_and_the_member_named(change, reason):
    with pytest.raises(Malformed) as refusal:
        KeyRequest.from_envelope(changed(change))
    assert reason in str(refusal.value)


@given(key=st.binary(max_size=100), signature=st.text("0123456789abcdefx"))
def test_a_key_round_trips(key, signature):
    one = FunctionKey(key=key, signature=signature)
    assert FunctionKey.decode(one.encode()) == one


@pytest.mark.parametrize(
    "body", [{}, [], {"key": "text", "signature": "0x"}, {"key": b"k"}, {"signature": "0x"}], ids=str
)
def test_another_answer_is_no_key(body):
    with pytest.raises(Malformed, match="expected"):
        FunctionKey.decode(write_msgpack(body))
