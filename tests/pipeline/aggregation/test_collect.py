import secrets
from dataclasses import replace

import pytest

from pipeline.aggregation.collect import check_header, check_submission
from pipeline.aggregation.function_key import InvalidMasks, build_request, issue_key
from pipeline.curve.arrays import words_from_ints
from pipeline.curve.select import kernel
from pipeline.errors import BadProof, BadSignature, Malformed, Rejected
from pipeline.protocol.encodings import keccak256, to_hex
from pipeline.protocol.signing import SecretKey
from pipeline.protocol.submission import Header, Submission
from pipeline.protocol.task import Task
from tests.known_answers import (
    MINER_NAMES,
    MINERS,
    bad,
    case_named,
    raw,
    secret,
    submission_of,
    support_size,
    task_of,
)

K = kernel("reference")
BAD_TASK = Task.from_document(bad()["task"])
BAD_SIZE = support_size(case_named("packed"))
KINDS = {
    "proof of encryption": (BadProof, "proof of encryption"),
    "malformed": (Malformed, ""),
    "signature": (BadSignature, "signature"),
    "roster": (Rejected, "roster"),
    "task hash": (Rejected, "unknown task hash"),
    "task": (Rejected, "another task"),
    "missing": (Malformed, "missing required field `proof`"),
    "wish": (Rejected, "no wishHash"),
    "wish size": (Rejected, "wish size"),
}
#: Bad at decoding: a scalar that is not below q is no scalar.
DECODING = {"z_not_below_q": Malformed}


@pytest.mark.parametrize(("case", "miner"), MINERS, ids=MINER_NAMES)
def test_every_known_submission_gets_in(case, miner):
    task, size = task_of(case), support_size(case)
    points = check_submission(task, submission_of(miner), size, K)
    assert len(points) == task.groups(size) + 1
    assert K.write_points32(points.read(K, 0, len(points))) == raw(miner["ciphertext"])


@pytest.mark.parametrize("case", bad()["cases"], ids=[case["name"] for case in bad()["cases"]])
def test_every_bad_vector_is_refused_by_its_party_for_its_reason(case):
    if case["refusedBy"] == "publisher":
        check_submission(BAD_TASK, submission_of(case), BAD_SIZE, K)  # the aggregator alone cannot see it
        aggregator, publisher = secret(bad()["aggregatorSecretKey"]), secret(bad()["publisherSecretKey"])
        others = [
            submission_of(miner)
            for miner in case_named("packed")["miners"]
            if miner["header"]["miner"] != case["header"]["miner"]
        ]
        groups = BAD_TASK.groups(BAD_SIZE)
        request = build_request(BAD_TASK, [*others, submission_of(case)], aggregator, groups, K)
        with pytest.raises(InvalidMasks, match="invalid masks") as refusal:
            issue_key(BAD_TASK, request, publisher, groups, K)
        assert refusal.value.invalid == [submission_of(case).header.submission_hash]
        return
    kind, words = KINDS[case["refusedFor"]]
    with pytest.raises(Rejected) as refusal:
        check_submission(BAD_TASK, submission_of(case), BAD_SIZE, K)
    assert any(words in reason for reason in refusal.value.reasons), refusal.value.reasons
    if len(refusal.value.reasons) == 1:
        assert type(refusal.value) is DECODING.get(case["name"], kind)


def header_checks(**changes):
    """A known submission with changed members, signed by its own miner again."""
    case = case_named("packed")
    miner = case["miners"][0]
    document = {**miner["header"], **changes}
    return task_of(case), Header.from_document(document), secret(miner["secretKey"]).sign("submission", document)


def test_a_header_is_refused_with_every_reason_at_once():
    stranger = SecretKey.generate()
    task, header, _ = header_checks(
        taskID="other", round=7, taskHash="0x" + "11" * 32, miner="0x" + "22" * 20, minerPublicKey=stranger.public_key
    )
    with pytest.raises(Rejected) as refusal:
        check_header(task, header, stranger.sign("submission", header.document))
    text = str(refusal.value)
    assert len(refusal.value.reasons) == 5
    for part in ("another task", "unknown task hash", "roster", "wrong miner key", "signature of the miner"):
        assert part in text
    assert type(refusal.value) is Rejected


def test_one_kind_of_reason_keeps_its_class():
    task, header, signature = header_checks()
    check_header(task, header, signature)
    with pytest.raises(BadSignature):
        check_header(task, header, signature[:-2] + "00")


def test_a_submission_is_refused_with_every_reason_at_once():
    case = case_named("packed")
    miner = case["miners"][0]
    submission = submission_of(miner)
    altered = bytearray(submission.ciphertext)
    altered[:32] = (5).to_bytes(32, "big")
    wrong = replace(submission, ciphertext=bytes(altered), wish=bytes(9), signature="0x00")
    with pytest.raises(Rejected) as refusal:
        check_submission(task_of(case), wrong, support_size(case), K)
    text = str(refusal.value)
    for part in ("signature", "ciphertext hash", "index 0 is on no point", "wish"):
        assert part in text


def test_a_wish_that_the_header_names_must_come():
    case = case_named("packed")
    submission = replace(submission_of(case["miners"][1]), wish=None)
    assert submission.header.wish_hash is not None
    with pytest.raises(Rejected, match="no wish came"):
        check_submission(task_of(case), submission, support_size(case), K)


def forged(ciphertext):
    """A header of a rightful miner, well signed, over bytes whose content nobody encrypted."""
    case = case_named("packed")
    miner = case["miners"][0]
    document = {name: value for name, value in miner["header"].items() if name != "wishHash"}
    document["ciphertextHash"] = to_hex(keccak256(ciphertext))
    document["proof"] = {**document["proof"], "z": to_hex(b"\0" + secrets.token_bytes(31))}
    signature = secret(miner["secretKey"]).sign("submission", document)
    return task_of(case), Submission(
        header=Header.from_document(document), signature=signature, ciphertext=ciphertext, wish=None
    )


@pytest.mark.parametrize("attempt", range(20))
def test_random_bytes_never_get_in(attempt):
    size = len(submission_of(case_named("packed")["miners"][0]).ciphertext)
    task, submission = forged(secrets.token_bytes(size))
    # Once in some hundred times random bytes are points, and then the proof refuses them.
    with pytest.raises(Rejected, match=r"ciphertext|proof of encryption fails"):
        check_submission(task, submission, BAD_SIZE, K)


@pytest.mark.parametrize("attempt", range(5))
def test_random_points_never_get_in(attempt):
    count = task_of(case_named("packed")).groups(BAD_SIZE) + 1
    scalars = words_from_ints([secrets.randbelow(2**250) for _ in range(count)], 4)
    points = K.encrypt(SecretKey.generate().point33, scalars, scalars[:, 0].astype("int64") % 1000)
    task, submission = forged(K.write_points32(points))
    with pytest.raises(BadProof, match="proof of encryption fails"):
        check_submission(task, submission, BAD_SIZE, K)


def test_one_point_repeated_never_gets_in():
    count = task_of(case_named("packed")).groups(BAD_SIZE) + 1
    one = K.encrypt(
        SecretKey.generate().point33,
        words_from_ints([1] * count, 4),
        words_from_ints([0] * count, 4)[:, 0].astype("int64"),
    )
    task, submission = forged(K.write_points32(one))
    with pytest.raises(BadProof):
        check_submission(task, submission, BAD_SIZE, K)
