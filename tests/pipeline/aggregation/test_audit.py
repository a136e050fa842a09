import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.aggregation.audit import (
    Candidate,
    check_accuracy,
    check_dropped,
    check_own,
    check_submissions,
    check_sum,
)
from pipeline.curve.reference import ReferenceKernel
from pipeline.errors import BadProof, Rejected
from pipeline.protocol.block import Audit, Block
from pipeline.protocol.coordinates import Coordinates
from pipeline.protocol.function_key import KeyRequest
from pipeline.protocol.signing import canonical
from tests.known_answers import CASES, NAMES, case_named, maybe_raw, raw, submissions_of, task_of

KERNEL = ReferenceKernel()
CASE = case_named("packed")


def random_bytes(count: int) -> bytes:
    return hashlib.shake_256(b"weights").digest(count)


def candidate_of(case) -> Candidate:
    task, signed = task_of(case), case["signed"]["block"]
    return Candidate(
        task=task,
        block=Block.decode(canonical({**signed["body"], "signature": signed["signature"]})),
        audit=Audit(
            request=case["request"],
            mask_sums=b"".join(raw(word) for word in case["maskSums"]),
            aggregate=np.array(case["aggregate"], dtype="<i8").tobytes(),
            wishes=tuple(maybe_raw(miner["wish"]) for miner in case["miners"]),
        ),
        submissions=tuple(submissions_of(case)),
        support=Coordinates.of(task.dimension, maybe_raw(case["support"])),
        parent=Path("none"),
    )


def points_of(candidate: Candidate):
    return check_submissions(candidate, KeyRequest.from_envelope(candidate.audit.request), KERNEL)


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_an_honest_sum_holds_with_and_without_dropped_groups(case):
    candidate = candidate_of(case)
    check_sum(candidate, points_of(candidate), KERNEL, random_bytes)


@pytest.mark.parametrize("at", [0, 1, -1])
def test_one_altered_coordinate_is_noticed(at):
    candidate = candidate_of(CASE)
    sums = np.array(CASE["aggregate"], dtype="<i8")
    sums[at] += 1
    forged = replace(candidate, audit=replace(candidate.audit, aggregate=sums.tobytes()))
    with pytest.raises(BadProof, match="not the sum"):
        check_sum(forged, points_of(candidate), KERNEL, random_bytes)


def test_a_mask_sum_that_hides_the_difference_is_noticed():
    # Who knew the logarithm of H could move a difference from X into M; a change of M alone is seen.
    candidate = candidate_of(CASE)
    masks = bytearray(candidate.audit.mask_sums)
    masks[31] ^= 1
    forged = replace(candidate, audit=replace(candidate.audit, mask_sums=bytes(masks)))
    with pytest.raises(BadProof):
        check_sum(forged, points_of(candidate), KERNEL, random_bytes)


def test_a_sum_without_one_of_its_miners_is_noticed():
    candidate = candidate_of(CASE)
    with pytest.raises(BadProof):
        check_sum(candidate, points_of(candidate)[1:], KERNEL, random_bytes)


def test_another_order_of_submissions_is_noticed():
    candidate = candidate_of(CASE)
    turned = replace(candidate, submissions=candidate.submissions[::-1])
    with pytest.raises(Rejected, match="the aggregator shows"):
        points_of(turned)


def test_a_ciphertext_that_is_not_the_headers_is_noticed():
    candidate = candidate_of(CASE)
    first, *others = candidate.submissions
    swapped = replace(candidate, submissions=(replace(first, ciphertext=others[0].ciphertext), *others))
    with pytest.raises(Rejected, match="ciphertext hash"):
        points_of(swapped)


def test_own_submission_must_be_there_unaltered():
    block = candidate_of(CASE).block
    first = block.fields.participants[0]
    check_own(block, {first.miner: first.submissionHash})
    with pytest.raises(Rejected, match="which sent 0xab"):
        check_own(block, {first.miner: "0xab"})
    with pytest.raises(Rejected, match="no participant"):
        check_own(block, {"0x" + "00" * 20: first.submissionHash})


def test_dropped_groups_are_borne_up_to_a_share():
    candidate = candidate_of(case_named("overflow"))
    check_dropped(candidate, 1.0)
    with pytest.raises(Rejected, match="FLFLEET_MAX_DROPPED_SHARE"):
        check_dropped(candidate, 0.0)


def test_a_collapse_is_not_a_fluctuation():
    check_accuracy(0.9, 0.7, 0.3)
    with pytest.raises(Rejected, match="FLFLEET_MAX_ACCURACY_LOSS"):
        check_accuracy(0.9, 0.1, 0.3)
