"""What a submission must be to get in (PROTOCOL.md section 5). Pure: rounds, duplicates and storage are the service's."""

from pipeline.aggregation.findings import Findings
from pipeline.curve.contract import Kernel, Points
from pipeline.errors import Malformed
from pipeline.nddfe.proof import verify
from pipeline.protocol.encodings import address_of, ceil_ratio, indices_from_bitmap, keccak256, to_hex
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


def check_wish(task: Task, header: Header, wish: bytes | None) -> None:
    """The wish is the one that the header names, a bitmap, and no larger than ceil(ratio * d). Raises Rejected with all reasons."""
    if wish is None and header.wish_hash is None:
        return
    findings = Findings()
    findings.require(wish is not None, "wish: the header has a wishHash, but no wish came")
    findings.require(header.wish_hash is not None, "wish: a wish came, but the header has no wishHash")
    if wish is not None:
        if header.wish_hash is not None:
            found = to_hex(keccak256(wish))
            findings.require(found == header.wish_hash, f"wish hash: expected {header.wish_hash}, got {found}")
        with findings.gather():
            bits, most = len(indices_from_bitmap(wish, task.dimension, "wish")), ceil_ratio(task.ratio, task.dimension)
            findings.require(bits <= most, f"wish size: at most {most} coordinates, got {bits}")
    findings.raise_any()


def check_submission(task: Task, submission: Submission, support_size: int, kernel: Kernel) -> Points:
    """Returns U_0 .. U_G, uint64[G + 1, 8], of a submission that may get in.

    Raises Rejected with every reason that was found; BadSignature, Malformed or BadProof where all are of that kind.
    """
    findings, header = Findings(), submission.header
    with findings.gather():
        check_header(task, header, submission.signature)
    with findings.gather():
        check_wish(task, header, submission.wish)
    found = to_hex(keccak256(submission.ciphertext))
    findings.require(
        found == header.ciphertext_hash, f"ciphertext hash: expected {header.ciphertext_hash}, got {found}"
    )
    points: Points | None = None
    with findings.gather("ciphertext: "):
        points = kernel.read_points32(submission.ciphertext, task.groups(support_size) + 1)
    if points is not None:
        with findings.gather():
            verify(kernel, task.publisher_key, header.statement_hash, points, header.proof)
    findings.raise_any()
    if points is None:
        raise Malformed("ciphertext: no points")
    return points
