"""What a submission must be to get in (docs/protocol.md, section 5). Pure: rounds, duplicates and storage are the service's."""

from collections.abc import Iterator

from pipeline.aggregation.findings import Findings
from pipeline.curve.contract import Kernel, Points
from pipeline.errors import Malformed
from pipeline.nddfe.ciphertext import Ciphertext
from pipeline.nddfe.proof import verify
from pipeline.protocol.encodings import address_of, ceil_ratio, count_bits, keccak256_of, to_hex
from pipeline.protocol.file_bytes import Bytes
from pipeline.protocol.signing import check_signature
from pipeline.protocol.submission import Header, Submission
from pipeline.protocol.task import Task


def check_header(task: Task, header: Header, signature: str) -> None:
    """Every check that needs no ciphertext: the aggregator's and, on its own, the publisher's. Raises Rejected with all reasons."""
    findings = Findings()
    findings.require(
        (header.task_id, header.round) == (task.task_id, task.round),
        f"another task: this is {task.task_id!r} round {task.round}, the header names {header.task_id[:64]!r} round {header.round}",
    )
    findings.require(
        header.task_hash == task.task_hash, f"unknown task hash: expected {task.task_hash}, got {header.task_hash}"
    )
    findings.require(header.miner in task.roster, f"miner {header.miner} is not in the task's roster")
    owner = address_of(header.miner_key)
    findings.require(
        owner == header.miner, f"wrong miner key: minerPublicKey belongs to {owner}, the header names {header.miner}"
    )
    with findings.gather():
        check_signature("submission", header.document, signature, header.miner, "the miner")
    findings.raise_any()


def check_wish(task: Task, header: Header, wish: Bytes | None) -> None:
    """The wish is the one that the header names, a bitmap, and no larger than ceil(ratio * d). Raises Rejected with all reasons."""
    if wish is None and header.wish_hash is None:
        return
    findings = Findings()
    findings.require(wish is not None, "wish: the header has a wishHash, but no wish came")
    findings.require(header.wish_hash is not None, "wish: a wish came, but the header has no wishHash")
    if wish is not None:
        if header.wish_hash is not None:
            found = to_hex(keccak256_of(wish))
            findings.require(found == header.wish_hash, f"wish hash: expected {header.wish_hash}, got {found}")
        with findings.gather():
            bits, most = count_bits(wish, task.dimension, "wish"), ceil_ratio(task.ratio, task.dimension)
            findings.require(bits <= most, f"wish size: at most {most} coordinates, got {bits}")
    findings.raise_any()


def check_submission(task: Task, submission: Submission, support_size: int, kernel: Kernel) -> Ciphertext:
    """Returns the points U_0 .. U_G of a submission that may get in; see `check_parts`."""
    whole = submission.ciphertext
    return check_parts(task, submission.header, submission.signature, whole, submission.wish, support_size, kernel)


def check_parts(
    task: Task,
    header: Header,
    signature: str,
    ciphertext: Bytes,
    wish: Bytes | None,
    support_size: int,
    kernel: Kernel,
) -> Ciphertext:
    """The same for a ciphertext that may lie on disk: it is hashed, read and combined in pieces, so memory stays small.

    Raises Rejected with every reason that was found; BadSignature, Malformed or BadProof where all are of that kind.
    """
    findings, points = Findings(), None
    with findings.gather():
        check_header(task, header, signature)
    with findings.gather():
        check_wish(task, header, wish)
    found = to_hex(keccak256_of(ciphertext))
    findings.require(
        found == header.ciphertext_hash, f"ciphertext hash: expected {header.ciphertext_hash}, got {found}"
    )
    with findings.gather("ciphertext: "):
        points = Ciphertext(ciphertext, task.groups(support_size) + 1)
    if points is not None:
        # What a piece refuses while it is read is the ciphertext's fault, what the sum refuses is the proof's.
        with findings.gather():
            verify(kernel, task.publisher_key, header.statement_hash, _told(points.pieces(kernel)), header.proof)
    findings.raise_any()
    assert points is not None
    return points


def _told(pieces: Iterator[Points]) -> Iterator[Points]:
    """The pieces; one that cannot be read says that it is the ciphertext's."""
    try:
        yield from pieces
    except Malformed as error:
        raise Malformed(*(f"ciphertext: {reason}" for reason in error.reasons)) from None
