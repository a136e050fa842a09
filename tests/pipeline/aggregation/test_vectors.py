"""Every step of the publisher's and the aggregator's half against the known answers."""

from functools import cache

import numpy as np
import pytest

from pipeline.aggregation.block import check_block
from pipeline.aggregation.collect import check_header, check_submission
from pipeline.aggregation.decrypt import Aggregate, aggregate
from pipeline.aggregation.function_key import InvalidMasks, build_request, check_key, issue_key
from pipeline.aggregation.support import next_support
from pipeline.curve.arrays import bytes_from_words, words_from_ints
from pipeline.curve.contract import Points
from pipeline.curve.reference import ReferenceKernel
from pipeline.errors import Rejected
from pipeline.protocol.block import Audit, Block
from pipeline.protocol.encodings import from_hex, scalar_to_hex, to_hex
from pipeline.protocol.function_key import KeyRequest, SignedHeader
from pipeline.protocol.signing import SecretKey, canonical, digest_of, signer_of
from pipeline.protocol.submission import Header
from pipeline.protocol.task import Task
from tests.known_answers import NAMES as CASES
from tests.known_answers import bad, case_named, secret, submission_of, support_size, task_of

KERNEL = ReferenceKernel()


class Case:
    """One round of the vectors."""

    def __init__(self, name: str) -> None:
        self.document = case_named(name)
        self.task = task_of(self.document)
        self.publisher = secret(self.document["publisherSecretKey"])
        self.aggregator = secret(self.document["aggregatorSecretKey"])
        self.miners = self.document["miners"]
        self.support_size = support_size(self.document)
        self.groups = self.task.groups(self.support_size)
        self.headers = [
            SignedHeader(header=submission_of(miner).header, signature=miner["signature"]) for miner in self.miners
        ]

    def points(self, miner) -> Points:
        return KERNEL.read_points32(submission_of(miner).ciphertext, self.groups + 1)


@cache
def case(name: str) -> Case:
    return Case(name)


@pytest.fixture(params=CASES)
def one(request: pytest.FixtureRequest) -> Case:
    return case(request.param)


def test_every_submission_is_accepted_with_its_points(one: Case) -> None:
    for miner in one.miners:
        points = check_submission(one.task, submission_of(miner), one.support_size, KERNEL)
        assert np.array_equal(points, one.points(miner))
        assert Header.from_document(miner["header"]).submission_hash == miner["submissionHash"]


def test_the_key_request_is_the_vectors(one: Case) -> None:
    request = build_request(one.task, one.headers, one.groups, one.aggregator, KERNEL)
    assert request.envelope == one.document["request"]


def test_the_publisher_issues_the_vectors_key_and_the_aggregator_takes_it(one: Case) -> None:
    request = KeyRequest.from_envelope(one.document["request"])
    key = issue_key(one.task, request, one.groups, one.publisher, KERNEL)
    assert [to_hex(key.key[start : start + 32]) for start in range(0, len(key.key), 32)] == one.document["functionKey"]
    assert key.body(request) == one.document["signed"]["key"]["body"]
    assert key.signature == one.document["signed"]["key"]["signature"]
    assert to_hex(bytes_from_words(check_key(one.task, request, key, one.groups, KERNEL))) == to_hex(key.key)


def aggregate_of(one: Case) -> Aggregate:
    key = words_from_ints((int(text, 16) for text in one.document["functionKey"]), 4)
    headers = [entry.header for entry in one.headers]
    submissions = [one.points(miner) for miner in one.miners]
    return aggregate(one.task, one.support_size, headers, submissions, key, one.aggregator, KERNEL)


def test_the_sum_is_the_miners_and_what_overflows_is_dropped(one: Case) -> None:
    found = aggregate_of(one)
    assert [
        scalar_to_hex(int.from_bytes(found.mask_sums[i : i + 32], "big")) for i in range(0, len(found.mask_sums), 32)
    ] == (one.document["maskSums"])
    assert found.sums.tolist() == one.document["aggregate"]
    assert found.dropped == one.document["dropped"]


def test_the_next_support_is_what_the_wishes_give(one: Case) -> None:
    wishes = [None if miner["wish"] is None else from_hex(miner["wish"]) for miner in one.miners]
    support = next_support(one.task.task_id, one.task.round + 1, one.task.dimension, one.task.ratio, wishes)
    assert to_hex(support) == one.document["nextSupport"]


def test_this_rounds_support_is_what_the_wishes_before_gave(one: Case) -> None:
    if not one.document["wishesBefore"]:
        assert one.document["support"] is None
        return
    wishes = [from_hex(wish) for wish in one.document["wishesBefore"]]
    support = next_support(one.task.task_id, one.task.round, one.task.dimension, one.task.ratio, wishes)
    assert to_hex(support) == one.document["support"]


def test_every_signed_message_has_the_vectors_digest_and_signer(one: Case) -> None:
    signers = {"key": one.publisher, "receipt": one.aggregator, "block": one.aggregator}
    miner = SecretKey(from_hex(one.miners[0]["secretKey"]))
    for kind, message in one.document["signed"].items():
        assert to_hex(digest_of(kind, message["body"])) == message["digest"]
        assert signer_of(kind, message["body"], message["signature"]) == signers.get(kind, miner).address


def block_and_audit(one: Case) -> tuple[Block, Audit]:
    signed = one.document["signed"]["block"]
    block = Block.decode(canonical({**signed["body"], "signature": signed["signature"]}))
    found = aggregate_of(one)
    wishes = tuple(None if miner["wish"] is None else from_hex(miner["wish"]) for miner in one.miners)
    audit = Audit(request=one.document["request"], mask_sums=found.mask_sums, aggregate=found.encoded, wishes=wishes)
    return block, Audit.decode(audit.encode())


def test_the_block_passes_every_check_of_a_reader(one: Case) -> None:
    block, audit = block_and_audit(one)
    assert block.block_hash == one.document["signed"]["block"]["digest"]
    check_block(one.task, block, audit, one.support_size)


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        ("aggregateHash", "aggregateHash"),
        ("maskSumHash", "maskSumHash"),
        ("nextSupportHash", "nextSupportHash"),
        ("requestHash", "requestHash"),
        ("taskHash", "another task"),
        ("parentModelHash", "parentModelHash"),
        ("keyHash", "the publisher"),
    ],
)
def test_a_block_with_another_hash_is_refused_even_when_the_aggregator_signs_it(member: str, reason: str) -> None:
    one = case("packed")
    block, audit = block_and_audit(one)
    document = {**block.document, member: "0x" + "11" * 32}
    document["signature"] = one.aggregator.sign("block", document)
    with pytest.raises(Rejected, match=reason):
        check_block(one.task, Block.decode(canonical(document)), audit, one.support_size)


def test_a_participant_left_out_of_the_block_is_noticed() -> None:
    one = case("packed")
    block, audit = block_and_audit(one)
    document = {**block.document, "participants": block.document["participants"][1:]}
    document["signature"] = one.aggregator.sign("block", document)
    with pytest.raises(Rejected, match="participants are not those of the request"):
        check_block(one.task, Block.decode(canonical(document)), audit, one.support_size)


BAD = bad()
BAD_TASK = Task.from_document(BAD["task"])
BAD_SUPPORT_SIZE = int(np.unpackbits(np.frombuffer(from_hex(BAD["support"]), dtype=np.uint8)).sum())
#: How our reasons name what the vectors call it.
REASONS = {
    "proof of encryption": "proof of encryption",
    "malformed": "points:|wish: spare|wish:",
    "signature": "bad signature",
    "roster": "roster",
    "task hash": "unknown task hash",
    "task": "another task",
    "missing": "missing",
    "wish": "wish",
    "wish size": "wish size",
}


@pytest.mark.parametrize(
    "entry", [entry for entry in BAD["cases"] if entry["refusedBy"] == "aggregator"], ids=lambda entry: entry["name"]
)
def test_the_aggregator_refuses_a_bad_submission_for_its_reason(entry) -> None:
    with pytest.raises(Rejected, match=REASONS[entry["refusedFor"]]):
        check_submission(BAD_TASK, submission_of(entry), BAD_SUPPORT_SIZE, KERNEL)


def test_the_publisher_refuses_masks_that_are_not_the_miners_and_names_the_submission() -> None:
    (entry,) = [entry for entry in BAD["cases"] if entry["refusedBy"] == "publisher"]
    cheat = submission_of(entry)
    check_submission(BAD_TASK, cheat, BAD_SUPPORT_SIZE, KERNEL)
    one = case("packed")
    assert one.task.task_hash == BAD_TASK.task_hash
    others = [header for header in one.headers if header.header.miner != cheat.header.miner]
    submissions = [*others, SignedHeader(header=cheat.header, signature=cheat.signature)]
    request = build_request(one.task, submissions, one.groups, one.aggregator, KERNEL)
    with pytest.raises(InvalidMasks) as caught:
        issue_key(one.task, request, one.groups, one.publisher, KERNEL)
    assert caught.value.invalid == [cheat.header.submission_hash]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda headers: headers[:2], "2 submissions, expected 3"),
        (lambda headers: [*headers[:3], headers[0]], "a miner stands twice"),
    ],
)
def test_the_publisher_refuses_too_few_and_repeated_submissions(change, reason: str) -> None:
    one = case("packed")
    request = build_request(one.task, change(one.headers), one.groups, one.aggregator, KERNEL)
    with pytest.raises(Rejected, match=reason):
        issue_key(one.task, request, one.groups, one.publisher, KERNEL)


def test_the_publisher_answers_the_tasks_aggregator_alone() -> None:
    one = case("packed")
    request = build_request(one.task, one.headers, one.groups, SecretKey.generate(), KERNEL)
    with pytest.raises(Rejected, match="bad signature"):
        issue_key(one.task, request, one.groups, one.publisher, KERNEL)


def test_a_key_of_another_publisher_is_refused() -> None:
    one = case("packed")
    request = KeyRequest.from_envelope(one.document["request"])
    key = issue_key(one.task, request, one.groups, one.publisher, KERNEL)
    forged = type(key)(key=key.key, signature=SecretKey.generate().sign("key", key.body(request)))
    with pytest.raises(Rejected, match="the publisher"):
        check_key(one.task, request, forged, one.groups, KERNEL)


def test_a_header_is_checked_alike_by_both_parties() -> None:
    one = case("packed")
    for entry in one.headers:
        check_header(one.task, entry.header, entry.signature)
