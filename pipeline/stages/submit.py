"""Stage 7, submit: sign the header, keep the exact bytes, send them until the aggregator's receipt is in (section 5).

The bytes and the intent to send them are on disk before the first one leaves, and so is the score's opening: whatever dies
in between, the same bytes follow, which the aggregator answers with the same receipt.
"""

from pipeline.errors import Corrupt, Misconfigured
from pipeline.parties.aggregator import submit
from pipeline.protocol.file_bytes import FileBytes, pieces
from pipeline.protocol.signing import canonical
from pipeline.protocol.strict import read_json
from pipeline.protocol.submission import Header, Submission
from pipeline.stages.contract import Job, Output


def run(job: Job) -> Output:
    """Returns the artifacts `payload` and `receipt`, and the figures submissionHash, payloadBytes and receivedAt.

    Raises Retryable and Rejected as `parties.aggregator.submit`, Misconfigured without the identity's key, Corrupt where
    the opening or another input is missing or damaged.
    """
    # A commitment whose opening is lost is worth nothing: it does not leave.
    job.artifacts.get(_input(job, "opening"))
    digest, payload, header = _payload(job)
    receipt = submit(
        job.task.aggregator_url,
        payload,
        submission_hash=header.submission_hash,
        aggregator_address=job.task.aggregator_address,
        timeout=job.settings.http_timeout_seconds,
    )
    return Output(
        artifacts={
            "payload": digest,
            "receipt": job.artifacts.put(canonical(receipt.document), durable=True),
        },
        figures={
            "submissionHash": header.submission_hash,
            "payloadBytes": len(payload),
            "receivedAt": receipt.received_at,
        },
    )


def _payload(job: Job) -> tuple[str, FileBytes, Header]:
    """The bytes to send, which stay on disk, their digest, which is part of the run when this returns, and their header."""
    noted = job.inputs.get("payload")
    if noted is not None:
        try:
            # What may be out holds all that it was made of: a header that was damaged since does not matter any more.
            payload = job.artifacts.opened(noted)
            return noted, payload, Submission.decode(payload).header
        except Corrupt:
            # Nothing in a submission is random once its header stands (signatures are RFC 6979's): the same bytes come out.
            header = _header(job)
            if _sign(job, header) != noted:
                raise Corrupt(
                    f"artifact {noted} (the submission that may be out) is damaged and does not come out alike again"
                ) from None
            return noted, job.artifacts.opened(noted), header
    header = _header(job)
    digest = _sign(job, header)
    job.note("payload", digest)
    return digest, job.artifacts.opened(digest), header


def _header(job: Job) -> Header:
    return Header.from_document(read_json(job.artifacts.get(_input(job, "header"))))


def _sign(job: Job, header: Header) -> str:
    """Stores the bytes of the submission, piece by piece; their digest."""
    if job.secret_key is None:
        raise Misconfigured(f"the submit pool must hold the key of {job.identity.address}; see `flfleet doctor`")
    key = job.secret_key()
    if key.address != header.miner:
        raise Misconfigured(
            f"the key of {job.identity.name} is {key.address}'s; this run was encrypted by {header.miner}"
        )
    wish = job.artifacts.opened(job.inputs["wish"]) if "wish" in job.inputs else None
    submission = Submission(
        header=header,
        signature=key.sign("submission", header.document),
        ciphertext=job.artifacts.opened(_input(job, "ciphertext")),
        wish=wish,
    )
    return job.artifacts.put_pieces(pieces(*submission.parts), durable=True)


def _input(job: Job, name: str) -> str:
    try:
        return job.inputs[name]
    except KeyError:
        raise Corrupt(f"run {job.run_id} names no artifact {name!r}") from None
