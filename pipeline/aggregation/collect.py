"""What an aggregator checks before it takes a submission (PROTOCOL.md section 5); every reason is named."""

from collections.abc import Iterator

from pipeline.curve.contract import Kernel, Points
from pipeline.errors import BadProof, BadSignature, Malformed, Rejected
from pipeline.nddfe.proof import verify
from pipeline.protocol.encodings import address_of, ceil_ratio, indices_from_bitmap, keccak256, to_hex
from pipeline.protocol.signing import check_signature
from pipeline.protocol.submission import Header, Submission
from pipeline.protocol.task import Task


def check_submission(task: Task, submission: Submission, support_size: int, kernel: Kernel) -> Points:
    """Returns the submission's G + 1 points. Raises Rejected with every reason against it."""
    header = submission.header
    reasons = list(header_problems(task, header, submission.signature))
    if to_hex(keccak256(submission.ciphertext)) != header.ciphertext_hash:
        reasons.append("ciphertext: its keccak256 is not the header's ciphertextHash")
    reasons += _wish_problems(task, submission)
    try:
        points = kernel.read_points32(submission.ciphertext, task.groups(support_size) + 1)
    except Malformed as error:
        raise Rejected(*reasons, *error.reasons) from None
    try:
        verify(kernel, task.publisher_key, header.statement_hash, points, header.proof)
    except BadProof as error:
        reasons += error.reasons
    if reasons:
        raise Rejected(*reasons)
    return points


def check_header(task: Task, header: Header, signature: str) -> None:
    """What both aggregator and publisher check of a header. Raises Rejected with every reason."""
    reasons = list(header_problems(task, header, signature))
    if reasons:
        raise Rejected(*reasons)


def header_problems(task: Task, header: Header, signature: str) -> Iterator[str]:
    """Every reason against a header, as sentences."""
    if header.task_id != task.task_id or header.round != task.round:
        yield f"another task: expected round {task.round} of {task.task_id}, got round {header.round} of {header.task_id}"
    if header.task_hash != task.task_hash:
        yield f"unknown task hash: expected {task.task_hash}, got {header.task_hash}"
    if header.miner not in task.roster:
        yield f"roster: {header.miner} is not among the task's miners"
    if address_of(header.miner_key) != header.miner:
        yield f"wrong miner key: minerPublicKey has the address {address_of(header.miner_key)}, not {header.miner}"
    try:
        check_signature("submission", header.document, signature, header.miner, "the miner")
    except BadSignature as error:
        yield f"bad signature: {error}"


def _wish_problems(task: Task, submission: Submission) -> Iterator[str]:
    wish, stated = submission.wish, submission.header.wish_hash
    if (wish is None) != (stated is None):
        yield "wish: a wish and its wishHash come together or not at all"
        return
    if wish is None:
        return
    if to_hex(keccak256(wish)) != stated:
        yield "wish: its keccak256 is not the header's wishHash"
    try:
        wished = len(indices_from_bitmap(wish, task.dimension, "wish"))
    except Malformed as error:
        yield str(error)
        return
    most = ceil_ratio(task.ratio, task.dimension)
    if wished > most:
        yield f"wish size: {wished} coordinates, at most {most} may be wished for"
