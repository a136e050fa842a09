"""Every step of a miner's encryption against the known answers."""

import numpy as np
import pytest

from pipeline.curve.contract import Q
from pipeline.curve.reference import ReferenceKernel
from pipeline.curve.words import words_to_ints
from pipeline.nddfe.encryption import encrypt, joint_masks, mask_sum, value_sum
from pipeline.nddfe.masks import aggregator_key, context_of, masks, miner_keys, publisher_key
from pipeline.nddfe.packing import packed
from pipeline.nddfe.proof import prove, verify
from pipeline.nddfe.score import check_opening, commitment, largest_score, score_of
from pipeline.protocol.encodings import from_hex, to_hex
from pipeline.protocol.signing import SecretKey
from pipeline.protocol.submission import Header
from tests.known_answers import CASES, case, randomness

KERNEL = ReferenceKernel()
#: This miner encrypts other integers than it packed: its digits overflow into a neighbour's.
CHEAT = ("overflow", 1)
MINERS = [(name, index) for name in CASES for index in range(len(case(name).miners))]


@pytest.fixture(params=MINERS, ids=[f"{name}-{index}" for name, index in MINERS])
def answer(request: pytest.FixtureRequest):
    name, index = request.param
    return case(name), case(name).miners[index]


honest = pytest.mark.parametrize(
    "answer",
    [pair for pair in MINERS if pair != CHEAT],
    ids=[f"{name}-{index}" for name, index in MINERS if (name, index) != CHEAT],
    indirect=True,
)


def keys_of(answer):
    one, miner = answer
    return miner_keys(one.task, randomness(miner).ephemeral, SecretKey(from_hex(miner["secretKey"])).point33)


def test_the_context_binds_task_parties_and_ephemeral_key(answer) -> None:
    one, miner = answer
    own = SecretKey(from_hex(miner["secretKey"])).point33
    assert to_hex(context_of(one.task, own, randomness(miner).ephemeral.point33)) == miner["context"]


def test_miner_publisher_and_aggregator_derive_the_same_stream_keys(answer) -> None:
    one, miner = answer
    header = Header.from_document(miner["header"])
    keys = keys_of(answer)
    assert to_hex(keys.publisher) == miner["tpStreamKey"]
    assert to_hex(keys.aggregator) == miner["aggStreamKey"]
    assert publisher_key(one.task, one.publisher, header) == keys.publisher
    assert aggregator_key(one.task, one.aggregator, header) == keys.aggregator


def test_masks_are_the_streams_words_mod_q(answer) -> None:
    one, miner = answer
    keys = keys_of(answer)
    joint = words_to_ints(joint_masks(keys, 0, one.groups + 1, KERNEL))
    assert joint[0] == int(miner["firstMask"], 16)
    assert joint[-1] == int(miner["lastMask"], 16)
    r = words_to_ints(masks(keys.publisher, 0, 2, KERNEL))
    s = words_to_ints(masks(keys.aggregator, 0, 2, KERNEL))
    assert [(a + b) % Q for a, b in zip(r, s, strict=True)] == joint[:2]


def test_values_are_packed_to_the_base(answer) -> None:
    one, miner = answer
    values = np.array(miner["values"], dtype=np.int32)
    assert packed(values, one.task.quantization.pack, one.task.base).tolist() == miner["packed"]


def test_the_score_is_the_norm_and_its_opening_opens_the_commitment(answer) -> None:
    one, miner = answer
    values = np.array(miner["values"], dtype=np.int32)
    score, nonce = score_of(values, one.task.quantization.scale), from_hex(miner["nonce"])
    header = Header.from_document(miner["header"])
    assert str(score) == miner["score"]
    assert to_hex(commitment(score, nonce, one.task.task_id, header.miner)) == header.score_commit
    check_opening(score, nonce, one.task.task_id, header.miner, from_hex(header.score_commit))
    if one.document["name"] != "overflow":
        assert score <= largest_score(len(values), one.task.level, one.task.quantization.scale)


@honest
def test_the_ciphertext_is_the_vectors_to_the_byte(answer) -> None:
    one, miner = answer
    points = encrypt(
        np.array(miner["packed"], dtype=np.int64),
        keys_of(answer),
        one.task.publisher_key,
        randomness(miner).blinding,
        KERNEL,
    )
    assert to_hex(KERNEL.write_points32(points)) == miner["ciphertext"]
    assert np.array_equal(KERNEL.read_points32(from_hex(miner["ciphertext"]), one.groups + 1), points)


@honest
def test_the_proof_is_the_vectors(answer) -> None:
    one, miner = answer
    header, drawn, keys = Header.from_document(miner["header"]), randomness(miner), keys_of(answer)
    h0, count = header.statement_hash, one.groups + 1
    assert to_hex(h0) == miner["statementHash"]
    a = (mask_sum(keys.publisher, h0, count, KERNEL) + mask_sum(keys.aggregator, h0, count, KERNEL)) % Q
    b = value_sum(np.array(miner["packed"], dtype=np.int64), drawn.blinding, h0, KERNEL)
    assert prove(h0, one.points(miner), a, b, drawn.beta, KERNEL) == header.proof


def test_every_proof_verifies(answer) -> None:
    one, miner = answer
    header = Header.from_document(miner["header"])
    verify(header.statement_hash, one.points(miner), header.proof, one.task.publisher_key, KERNEL)
