import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.curve.contract import Q
from pipeline.errors import BadSignature, Malformed
from pipeline.protocol.signing import (
    SecretKey,
    canonical,
    check_embedded_signature,
    check_signature,
    digest_of,
    digest_of_body,
    signer_of,
)
from tests.known_answers import CASES, MINER_NAMES, MINERS, NAMES, secret

KEY = SecretKey((7).to_bytes(32, "big"))
MESSAGE = {"b": 1, "a": "ä"}


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_task_hash_and_signature_are_the_known_ones(case):
    publisher = secret(case["publisherSecretKey"])
    assert "0x" + digest_of("task", case["task"]).hex() == case["taskHash"]
    assert publisher.sign("task", case["task"]) == case["task"]["signature"]
    check_embedded_signature("task", case["task"], publisher.address, "the publisher")


@pytest.mark.parametrize(("_case", "miner"), MINERS, ids=MINER_NAMES)
def test_submission_signatures_recover_to_their_miner(_case, miner):
    assert signer_of("submission", miner["header"], miner["signature"]) == miner["header"]["miner"]


def test_the_digest_is_over_the_canonical_form_without_the_top_level_signature_alone():
    nested = {"x": {"signature": "kept"}, "signature": "left out"}
    assert digest_of("block", nested) == digest_of_body("block", b'{"x":{"signature":"kept"}}')
    assert digest_of("block", nested) != digest_of("block", {"x": {}})


def test_every_kind_has_its_own_digest():
    assert len({digest_of(kind, MESSAGE) for kind in ("task", "submission", "statement", "vote")}) == 4


def test_the_canonical_form_sorts_keys_and_writes_utf8():
    assert canonical(MESSAGE) == '{"a":"ä","b":1}'.encode()
    with pytest.raises(Malformed, match="no canonical form"):
        canonical({"a": 2**60})


@settings(deadline=None)
@given(secret_=st.integers(1, Q - 1), text=st.text(st.characters(exclude_categories=["Cs"])))
def test_what_a_key_signs_recovers_to_its_address(secret_, text):
    key = SecretKey(secret_.to_bytes(32, "big"))
    check_signature("vote", {"reason": text}, key.sign("vote", {"reason": text}), key.address, "the miner")


def altered(position, value):
    raw = bytearray(bytes.fromhex(KEY.sign("vote", MESSAGE)[2:]))
    raw[position] = value
    return "0x" + raw.hex()


def scalars(r, s, v=27):
    return "0x" + (r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes([v])).hex()


@pytest.mark.parametrize(
    ("signature", "reason"),
    [
        ("", "expected 0x"),
        ("0x00", "expected 65 bytes, got 1"),
        (KEY.sign("vote", MESSAGE).upper(), "expected 0x"),
        (altered(64, 0), "v must be 27 or 28"),
        (altered(64, 29), "v must be 27 or 28"),
        (scalars(0, 1), "out of range"),
        (scalars(Q, 1), "out of range"),
        (scalars(1, 0), "out of range"),
        (scalars(1, Q // 2 + 1), "a high s is refused"),
        (scalars(5, 1), "recovers to no key"),
        (altered(40, 1), "recovers to"),
    ],
)
def test_a_bad_signature_is_refused_with_its_reason(signature, reason):
    with pytest.raises(BadSignature, match=reason):
        check_signature("vote", MESSAGE, signature, KEY.address, "the miner")


def test_a_high_s_of_a_right_signature_is_refused():
    raw = bytes.fromhex(KEY.sign("vote", MESSAGE)[2:])
    mirrored = scalars(int.from_bytes(raw[:32], "big"), Q - int.from_bytes(raw[32:64], "big"), 55 - raw[64])
    with pytest.raises(BadSignature, match="a high s is refused"):
        check_signature("vote", MESSAGE, mirrored, KEY.address, "the miner")


def test_a_signature_of_another_kind_or_message_is_refused():
    signature = KEY.sign("vote", MESSAGE)
    for kind, message in (("reveal", MESSAGE), ("vote", {**MESSAGE, "b": 2})):
        with pytest.raises(BadSignature, match="signature of the miner: expected"):
            check_signature(kind, message, signature, KEY.address, "the miner")


@pytest.mark.parametrize("member", [{}, {"signature": None}, {"signature": 5}])
def test_a_message_without_its_signature_is_refused(member):
    with pytest.raises(BadSignature, match="signature of the publisher: missing"):
        check_embedded_signature("task", {**MESSAGE, **member}, KEY.address, "the publisher")


def test_a_secret_key_is_never_shown_or_pickled():
    assert repr(KEY) == f"SecretKey({KEY.address})"
    with pytest.raises(TypeError, match="never leaves its process"):
        pickle.dumps(KEY)


@pytest.mark.parametrize("value", [0, Q, 2**256 - 1])
def test_a_secret_out_of_range_is_refused_without_showing_it(value):
    with pytest.raises(ValueError, match="from 1 to q-1") as refusal:
        SecretKey(value.to_bytes(32, "big"))
    assert f"{value:064x}" not in str(refusal.value)
    with pytest.raises(ValueError, match="32 bytes"):
        SecretKey(b"\1" * 31)


def test_both_ends_share_one_point():
    other = SecretKey.generate()
    assert KEY.shared_point33(other.point33) == other.shared_point33(KEY.point33)
