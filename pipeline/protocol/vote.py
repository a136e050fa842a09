"""A participant's vote on a block (docs/protocol.md, section 8)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from pipeline.errors import Malformed, Rejected
from pipeline.protocol.block import Block
from pipeline.protocol.encodings import address_from_text, from_hex
from pipeline.protocol.signing import SecretKey, canonical, check_signature
from pipeline.protocol.strict import convert, read_json

Verdict = Literal["VALID", "INVALID"]
#: Characters of a reason: every check names itself in a sentence.
MAX_REASON = 4000
#: Bytes of a vote's JSON that a reader takes.
MAX_VOTE_BYTES = 32 * 1024


class _Fields(msgspec.Struct, frozen=True, kw_only=True):
    taskID: str
    round: int
    blockHash: str
    miner: str
    verdict: Verdict
    reason: str


@dataclass(frozen=True, kw_only=True)
class Vote:
    """One miner's signed word on one block. `fields` is the typed view of `document`."""

    document: dict[str, Any]
    fields: _Fields
    #: Kind `vote`, over the document.
    signature: str

    @classmethod
    def make(cls, block: Block, verdict: Verdict, reasons: Sequence[str], miner: SecretKey) -> "Vote":
        """Signs a vote; `reasons` says what is wrong with the block, and is empty for a VALID one."""
        document = {
            "taskID": block.fields.taskID,
            "round": block.fields.round,
            "blockHash": block.block_hash,
            "miner": miner.address,
            "verdict": verdict,
            "reason": "; ".join(reasons)[:MAX_REASON],
        }
        return cls.from_envelope({"vote": document, "signature": miner.sign("vote", document)})

    @property
    def envelope(self) -> dict[str, Any]:
        """{`vote`, `signature`}."""
        return {"vote": self.document, "signature": self.signature}

    def encode(self) -> bytes:
        """The JSON body of `POST .../votes`; the same bytes for the same vote."""
        return canonical(self.envelope)

    @classmethod
    def decode(cls, data: bytes | str) -> "Vote":
        """Reads the JSON body. Raises Malformed."""
        return cls.from_envelope(read_json(data))

    @classmethod
    def from_envelope(cls, envelope: Any) -> "Vote":
        """Reads {`vote`, `signature`}, strictly parsed. Raises Malformed; the signature is `check`'s."""
        if not isinstance(envelope, dict) or not isinstance(envelope.get("vote"), dict):
            raise Malformed("vote: expected {vote, signature}")
        signature = envelope.get("signature")
        if not isinstance(signature, str):
            raise Malformed("vote: signature is missing")
        fields = convert(envelope["vote"], _Fields, "vote")
        from_hex(fields.blockHash, 32, "vote: blockHash")
        address_from_text(fields.miner, "vote: miner")
        if len(fields.reason) > MAX_REASON:
            raise Malformed(f"vote: reason has {len(fields.reason)} characters, at most {MAX_REASON} are read")
        return cls(document=envelope["vote"], fields=fields, signature=signature)

    def check(self, block: Block) -> None:
        """Raises Rejected unless a participant of this very block signed it (BadSignature: somebody else did)."""
        of, fields = block.fields, self.fields
        if (fields.taskID, fields.round, fields.blockHash) != (of.taskID, of.round, block.block_hash):
            raise Rejected(f"vote: is on block {fields.blockHash}, not on {block.block_hash}")
        if fields.miner not in {one.miner for one in of.participants}:
            raise Rejected(f"vote: {fields.miner} is no participant of the block")
        check_signature("vote", self.document, self.signature, fields.miner, "the vote's miner")


def majority(participants: int) -> int:
    """How many VALID votes publish a block: 67 of 100, rounded up."""
    return (67 * participants + 99) // 100


def check_majority(block: Block, votes: Sequence[Vote]) -> None:
    """Raises Rejected unless these votes publish the block: each signed by a participant, one each, enough of them VALID."""
    for vote in votes:
        vote.check(block)
    voters = [vote.fields.miner for vote in votes]
    if len(set(voters)) != len(voters):
        raise Rejected("votes: a miner stands twice")
    valid = sum(vote.fields.verdict == "VALID" for vote in votes)
    needed = majority(len(block.fields.participants))
    if valid < needed:
        raise Rejected(
            f"votes: {valid} of {len(block.fields.participants)} participants found it valid, {needed} needed"
        )
