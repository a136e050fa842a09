import copy
from dataclasses import replace

import numpy as np
import pytest

from pipeline.aggregation.block import NewModel, check_block, form_block
from pipeline.aggregation.decrypt import Aggregate
from pipeline.errors import BadSignature, Malformed, Rejected
from pipeline.protocol.block import Audit, Block
from pipeline.protocol.encodings import keccak256, to_hex
from pipeline.protocol.function_key import FunctionKey, KeyRequest
from pipeline.protocol.signing import canonical, digest_of
from tests.known_answers import CASES, NAMES, case_named, maybe_raw, raw, secret, support_size, task_of


def known_aggregate(case):
    return Aggregate(
        values=np.array(case["aggregate"], dtype=np.int64),
        dropped=case["dropped"],
        mask_sums=b"".join(raw(word) for word in case["maskSums"]),
    )


def known_audit(case):
    aggregate = known_aggregate(case)
    return Audit(
        request=case["request"],
        mask_sums=aggregate.mask_sums,
        aggregate=aggregate.encoded,
        wishes=tuple(maybe_raw(miner["wish"]) for miner in case["miners"]),
    )


def formed(case):
    body = case["signed"]["block"]["body"]
    return form_block(
        task_of(case),
        KeyRequest.from_envelope(case["request"]),
        FunctionKey(
            key=b"".join(raw(word) for word in case["functionKey"]), signature=case["signed"]["key"]["signature"]
        ),
        known_aggregate(case),
        NewModel(sha256=body["modelHash"], url=body["modelURL"], accuracy=body["accuracy"]),
        raw(case["nextSupport"]),
        body["createdAt"],
        secret(case["aggregatorSecretKey"]),
    )


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_the_block_is_the_known_one(case):
    block, known = formed(case), case["signed"]["block"]
    assert block.document == {**known["body"], "signature": known["signature"]}
    assert block.block_hash == known["digest"]


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_a_reader_takes_the_known_block_and_its_audit(case):
    block = Block.decode(canonical(formed(case).document))
    audit = Audit.decode(known_audit(case).encode())
    request = check_block(task_of(case), block, audit, support_size(case))
    assert request.request_hash == block.fields.requestHash


@pytest.mark.parametrize("case", CASES, ids=NAMES)
@pytest.mark.parametrize("kind", ["key", "receipt", "block", "vote", "reveal"])
def test_every_signed_digest_is_the_known_one(case, kind):
    signed = case["signed"][kind]
    assert "0x" + digest_of(kind, signed["body"]).hex() == signed["digest"]
    signer = {"key": case["publisherSecretKey"], "vote": None, "reveal": None}.get(kind, case["aggregatorSecretKey"])
    if signer is None:
        miner = signed["body"]["miner"]
        signer = next(one["secretKey"] for one in case["miners"] if one["header"]["miner"] == miner)
    assert secret(signer).sign(kind, signed["body"]) == signed["signature"]


CASE = case_named("packed")
TASK, SIZE, AGGREGATOR = task_of(CASE), support_size(CASE), secret(CASE["aggregatorSecretKey"])


def resigned(**changes):
    document = copy.deepcopy(formed(CASE).document) | changes
    document["signature"] = AGGREGATOR.sign("block", document)
    return Block.decode(canonical(document))


ZERO = "0x" + "00" * 32


@pytest.mark.parametrize(
    "changes",
    [
        {"taskID": "other"},
        {"round": 3},
        {"taskHash": ZERO},
        {"parentBlockHash": ZERO},
        {"parentModelHash": ZERO},
        {"requestHash": ZERO},
        {"participants": []},
        {"maskSumHash": ZERO},
        {"aggregateHash": ZERO},
        {"nextSupportHash": ZERO},
        {"accuracy": 1.5},
        {"dropped": [9]},
        {"dropped": [1, 1]},
        {"dropped": [2, 1]},
    ],
    ids=str,
)
def test_a_block_with_another_member_is_refused_and_the_member_named(changes):
    (name,) = changes
    with pytest.raises(Rejected, match=name):
        check_block(TASK, resigned(**changes), known_audit(CASE), SIZE)


def test_a_block_of_another_key_is_refused():
    with pytest.raises(BadSignature, match="the publisher's function key"):
        check_block(TASK, resigned(keyHash=ZERO), known_audit(CASE), SIZE)


def test_a_block_without_the_parent_that_the_task_names_is_refused():
    document = {name: value for name, value in formed(CASE).document.items() if name != "parentBlockHash"}
    document["signature"] = AGGREGATOR.sign("block", document)
    with pytest.raises(Rejected, match="parentBlockHash is None"):
        check_block(TASK, Block.decode(canonical(document)), known_audit(CASE), SIZE)


def test_a_block_signed_by_another_is_refused():
    document = dict(formed(CASE).document)
    document["signature"] = secret(CASE["publisherSecretKey"]).sign("block", document)
    with pytest.raises(BadSignature, match="the aggregator's block"):
        check_block(TASK, Block.decode(canonical(document)), known_audit(CASE), SIZE)


def test_participants_in_another_order_are_refused():
    swapped = formed(CASE).document["participants"][::-1]
    with pytest.raises(Rejected, match="participants"):
        check_block(TASK, resigned(participants=swapped), known_audit(CASE), SIZE)


def with_sums(values):
    data = np.array(values, dtype="<i8").tobytes()
    return resigned(aggregateHash=to_hex(keccak256(data))), replace(known_audit(CASE), aggregate=data)


def test_a_sum_beyond_what_n_miners_can_reach_is_refused():
    limit = len(CASE["miners"]) * TASK.level
    for value in (limit, -limit):
        check_block(TASK, *with_sums([value, *CASE["aggregate"][1:]]), SIZE)
    for value in (limit + 1, -limit - 1, -(2**63), 2**63 - 1):
        with pytest.raises(Rejected, match=r"beyond n\*c = 12"):
            check_block(TASK, *with_sums([value, *CASE["aggregate"][1:]]), SIZE)


def test_sums_of_another_length_are_refused():
    with pytest.raises(Malformed, match="aggregate has 168 bytes, expected 176"):
        check_block(TASK, *with_sums(CASE["aggregate"][1:]), SIZE)


def test_a_dropped_group_must_be_zero():
    with pytest.raises(Rejected, match="a dropped group whose sums are not zero"):
        check_block(TASK, resigned(dropped=[0]), known_audit(CASE), SIZE)


def test_mask_sums_must_be_scalars():
    data = b"\xff" * 32 + known_audit(CASE).mask_sums[32:]
    block = resigned(maskSumHash=to_hex(keccak256(data)))
    with pytest.raises(Malformed, match="a mask sum that is not below q"):
        check_block(TASK, block, replace(known_audit(CASE), mask_sums=data), SIZE)


def test_wishes_must_be_those_of_the_headers():
    audit = known_audit(CASE)
    with pytest.raises(Rejected, match=r"participant \d: wish"):
        check_block(TASK, resigned(), replace(audit, wishes=audit.wishes[::-1]), SIZE)
    with pytest.raises(Malformed, match="3 wishes for 4 participants"):
        check_block(TASK, resigned(), replace(audit, wishes=audit.wishes[1:]), SIZE)


def test_a_request_whose_headers_are_not_the_miners_is_refused():
    request = copy.deepcopy(CASE["request"])
    entries = request["request"]["submissions"]
    entries[0]["signature"] = entries[1]["signature"]
    request["signature"] = AGGREGATOR.sign("key-request", request["request"])
    with pytest.raises(Rejected, match="key request: submission 0: signature of the miner"):
        check_block(TASK, resigned(), replace(known_audit(CASE), request=request), SIZE)
