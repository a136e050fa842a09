import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import Malformed
from pipeline.protocol.block import Audit, Block
from pipeline.protocol.strict import write_msgpack
from tests.known_answers import CASES, NAMES, case_named


def document(case):
    signed = case["signed"]["block"]
    return {**signed["body"], "signature": signed["signature"]}


KNOWN = document(case_named("packed"))


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_the_known_blocks_decode_to_their_hash(case):
    block = Block.decode(json.dumps(document(case)).encode())
    assert block.document == document(case)
    assert block.block_hash == case["signed"]["block"]["digest"]


@pytest.mark.parametrize("member", [name for name in KNOWN if name != "parentBlockHash"])
def test_a_missing_member_is_named(member):
    with pytest.raises(Malformed, match=member):
        Block.decode(json.dumps({name: value for name, value in KNOWN.items() if name != member}).encode())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"protocol": "ndd-fe/2"}, "expected 'ndd-fe/1'"),
        ({"dropped": [-1]}, "negative group"),
        ({"modelHash": "0x00"}, "modelHash: expected 32 bytes"),
        ({"participants": [{**KNOWN["participants"][0], "miner": "0xAB"}]}, "participant"),
        ({"accuracy": "high"}, "accuracy"),
    ],
    ids=str,
)
def test_a_bad_member_is_refused_and_named(changes, reason):
    with pytest.raises(Malformed, match=reason):
        Block.decode(json.dumps(KNOWN | changes).encode())


@given(
    sums=st.binary(max_size=64), aggregate=st.binary(max_size=64), wishes=st.lists(st.none() | st.binary(max_size=9))
)
def test_an_audit_round_trips(sums, aggregate, wishes):
    audit = Audit(request={"request": {}}, mask_sums=sums, aggregate=aggregate, wishes=tuple(wishes))
    assert Audit.decode(audit.encode()) == audit


@pytest.mark.parametrize(
    "change", [{"request": 1}, {"maskSums": "x"}, {"aggregate": None}, {"wishes": None}, {"wishes": ["text"]}], ids=str
)
def test_another_answer_is_no_audit(change):
    body = {"request": {}, "maskSums": b"", "aggregate": b"", "wishes": []} | change
    with pytest.raises(Malformed, match=r"expected \{request, maskSums, aggregate, wishes\}"):
        Audit.decode(write_msgpack(body))
