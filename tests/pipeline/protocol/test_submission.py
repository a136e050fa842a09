import copy
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.curve.contract import Q
from pipeline.errors import Malformed
from pipeline.protocol.encodings import scalar_to_hex
from pipeline.protocol.strict import write_msgpack
from pipeline.protocol.submission import JSON, MSGPACK, Header, Receipt, Submission, max_bytes, points32_size
from tests.known_answers import MINER_NAMES, MINERS, case_named, raw, submission_of

CASE = case_named("packed")
KNOWN = submission_of(CASE["miners"][1])


@pytest.mark.parametrize(("_case", "miner"), MINERS, ids=MINER_NAMES)
def test_known_hashes(_case, miner):
    header = Header.from_document(miner["header"])
    assert "0x" + header.statement_hash.hex() == miner["statementHash"]
    assert header.submission_hash == miner["submissionHash"]


@given(ciphertext=st.binary(max_size=300), wish=st.none() | st.binary(max_size=20), extra=st.text("abc", max_size=5))
def test_both_content_types_round_trip(ciphertext, wish, extra):
    document = {**KNOWN.header.document, "comment": extra}
    submission = Submission(
        header=Header.from_document(document), signature=KNOWN.signature, ciphertext=ciphertext, wish=wish
    )
    assert Submission.decode(submission.encode()) == submission
    assert Submission.decode(submission.encode(), MSGPACK) == submission
    assert Submission.decode(json.dumps(submission.encode_json()).encode(), f"{JSON}; charset=utf-8") == submission
    assert submission.encode() == submission.encode()


def document_with(**changes):
    document = copy.deepcopy(KNOWN.header.document)
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


MEMBERS = [
    "protocol",
    "taskID",
    "round",
    "taskHash",
    "miner",
    "minerPublicKey",
    "maskKey",
    "ciphertextHash",
    "scoreCommit",
    "proof",
    "proof__t",
    "proof__a",
    "proof__z",
]


@pytest.mark.parametrize("member", MEMBERS)
def test_a_missing_member_is_named(member):
    with pytest.raises(Malformed, match=f"missing required field `{member.split('__')[-1]}`"):
        Header.from_document(document_with(**{member: None}))


@pytest.mark.parametrize("member", [*MEMBERS, "wishHash"])
@pytest.mark.parametrize("value", [True, 1.5, ["x"], {}], ids=str)
def test_a_member_of_another_type_is_refused(member, value):
    with pytest.raises(Malformed):
        Header.from_document(document_with(**{member: value}))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"protocol": "ndd-fe/2"}, "expected 'ndd-fe/1'"),
        ({"maskKey": "0x02" + "00" * 31 + "05"}, "maskKey: not a point"),
        ({"maskKey": "0x04" + "00" * 32}, "maskKey: expected a SEC1 compressed"),
        ({"proof__t": "0x02" + "00" * 31 + "05"}, "proof of encryption: t"),
        ({"proof__a": scalar_to_hex(Q)}, "proof of encryption: a: not below"),
        ({"proof__z": scalar_to_hex(Q)}, "proof of encryption: z: not below"),
        ({"wishHash": "0x" + "00" * 31}, "wishHash: expected 32 bytes"),
        ({"miner": KNOWN.header.miner.upper()}, "header: miner"),
    ],
    ids=str,
)
def test_a_bad_member_is_refused_and_named(changes, reason):
    with pytest.raises(Malformed, match=reason):
        Header.from_document(document_with(**changes))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"header": None}, "header: expected an object"),
        ({"signature": None}, "signature is missing"),
        ({"signature": b"x"}, "signature is missing"),
        ({"ciphertext": None}, "ciphertext is missing"),
        ({"ciphertext": "text"}, "ciphertext is missing or of another type"),
        ({"wish": 5}, "wish is missing or of another type"),
    ],
    ids=str,
)
def test_a_body_with_a_bad_part_is_refused(change, reason):
    body = {"header": KNOWN.header.document, "signature": KNOWN.signature, "ciphertext": b"c"} | change
    with pytest.raises(Malformed, match=reason):
        Submission.decode(write_msgpack(body))


@given(st.binary(max_size=200))
def test_random_bytes_are_no_submission(data):
    for content_type in (JSON, MSGPACK, "text/plain", ""):
        with pytest.raises(Malformed):
            Submission.decode(data, content_type)


def test_base64_that_is_none_is_refused():
    body = KNOWN.encode_json() | {"ciphertext": "not base64!"}
    with pytest.raises(Malformed, match="ciphertext: not valid base64"):
        Submission.decode(json.dumps(body).encode(), JSON)


def test_a_submission_fits_into_its_bound_with_room_for_a_wish():
    size = max_bytes(5, 70)
    assert size == 33 * 6 + 9 + 65536
    assert len(KNOWN.encode()) < size
    assert len(KNOWN.ciphertext) == points32_size(6) == 193


def test_the_statement_leaves_the_proof_out_and_nothing_else():
    altered = Header.from_document(document_with(proof__a=scalar_to_hex(1)))
    assert altered.statement_hash == KNOWN.header.statement_hash
    assert altered.submission_hash != KNOWN.header.submission_hash
    other = Header.from_document(document_with(scoreCommit="0x" + "00" * 32))
    assert other.statement_hash != KNOWN.header.statement_hash


def test_a_receipt_is_read_and_one_without_a_member_refused():
    document = {**CASE["signed"]["receipt"]["body"], "signature": CASE["signed"]["receipt"]["signature"]}
    receipt = Receipt.decode(json.dumps(document).encode())
    assert receipt.submission_hash == document["submissionHash"]
    assert receipt.received_at == 1764000100
    for member in document:
        with pytest.raises(Malformed, match=member):
            Receipt.decode(json.dumps({k: v for k, v in document.items() if k != member}).encode())


def test_a_submission_without_a_wish_does_not_name_one():
    bare = replace(KNOWN, wish=None)
    assert "wish" not in bare.encode_json()
    assert Submission.decode(bare.encode()).wish is None
    assert raw(CASE["miners"][1]["wish"]) == KNOWN.wish
