import secrets
from dataclasses import replace

import numpy as np
import pytest

from pipeline.curve.arrays import points_from_xy, words_from_ints
from pipeline.curve.contract import Q
from pipeline.curve.generators import H
from pipeline.curve.select import kernel
from pipeline.errors import BadProof
from pipeline.nddfe.keystream import weights
from pipeline.nddfe.mask_sum import weights_key
from pipeline.nddfe.proof import prove, verify
from tests.known_answers import MINER_NAMES, MINERS, submission_of, task_of

K = kernel("reference")
CASE, MINER = MINERS[0]
KEY = task_of(CASE).publisher_key


def parts(miner):
    submission = submission_of(miner)
    count = (len(submission.ciphertext) * 8) // 257
    return submission.header, K.read_points32(submission.ciphertext, count)


@pytest.mark.parametrize(("case", "miner"), MINERS, ids=MINER_NAMES)
def test_every_known_proof_holds(case, miner):
    header, points = parts(miner)
    verify(K, task_of(case).publisher_key, header.statement_hash, [points], header.proof)


def test_a_proof_over_many_pieces_holds():
    header, points = parts(MINER)
    pieces = [points[at : at + 8] for at in range(0, len(points), 8)]
    verify(K, KEY, header.statement_hash, pieces, header.proof)


@pytest.mark.parametrize("member", ["a", "z"])
def test_an_altered_scalar_fails(member):
    header, points = parts(MINER)
    proof = replace(header.proof, **{member: (getattr(header.proof, member) + 1) % Q})
    with pytest.raises(BadProof, match="proof of encryption"):
        verify(K, KEY, header.statement_hash, [points], proof)


def test_another_statement_another_key_or_another_t_fails():
    header, points = parts(MINER)
    other_key = task_of(CASE).aggregator_key
    for key, h0, proof in (
        (KEY, bytes(32), header.proof),
        (other_key, header.statement_hash, header.proof),
        (KEY, header.statement_hash, replace(header.proof, t=H)),
    ):
        with pytest.raises(BadProof, match="proof of encryption"):
            verify(K, key, h0, [points], proof)


def test_one_other_point_fails_wherever_it_stands():
    header, points = parts(MINER)
    for index in range(len(points)):
        altered = points.copy()
        altered[index] = points[index - 1]
        with pytest.raises(BadProof):
            verify(K, KEY, header.statement_hash, [altered], header.proof)


def test_points_that_cancel_out_are_refused_and_no_exception_of_another_kind():
    header, points = parts(MINER)
    infinite = points_from_xy(bytes(64) * len(points))
    with pytest.raises(BadProof, match="infinity"):
        verify(K, KEY, header.statement_hash, [infinite], header.proof)


def test_a_combination_without_a_value_is_proved_like_any_other():
    # b = 0: what is left of V after the masks is infinity, which only z*H == T can speak for.
    h0, mask = secrets.token_bytes(32), 77
    points = K.encrypt(KEY, words_from_ints([mask], 4), np.zeros(1, dtype=np.int64))
    a = K.dot(weights(weights_key(h0), 0, 1), words_from_ints([mask], 4))
    verify(K, KEY, h0, [points], prove(K, KEY, h0, a, 0, beta=5))
