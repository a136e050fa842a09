"""A participant opens its score commitment once the block is published (docs/protocol.md, section 8)."""

import re
from dataclasses import dataclass
from typing import Any

import msgspec

from pipeline.errors import Malformed
from pipeline.protocol.encodings import address_from_text, from_hex, to_hex
from pipeline.protocol.signing import SecretKey, canonical, check_signature, digest_of
from pipeline.protocol.strict import convert, read_json

#: A score is an integer of 256 bits at most.
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,77}")
#: Bytes of a reveal's JSON that a reader takes.
MAX_REVEAL_BYTES = 16 * 1024


class _Fields(msgspec.Struct, frozen=True, kw_only=True):
    taskID: str
    round: int
    miner: str
    score: str
    nonce: str


@dataclass(frozen=True, kw_only=True)
class Reveal:
    """A score and its nonce, signed by the miner that committed to them."""

    document: dict[str, Any]
    task_id: str
    round: int
    miner: str
    #: scoreUint, below 2^256.
    score: int
    #: 32 bytes.
    nonce: bytes
    #: Kind `reveal`, over the document.
    signature: str

    @property
    def reveal_hash(self) -> str:
        """Digest of kind `reveal`."""
        return "0x" + digest_of("reveal", self.document).hex()

    @property
    def envelope(self) -> dict[str, Any]:
        """{`reveal`, `signature`}."""
        return {"reveal": self.document, "signature": self.signature}

    @classmethod
    def make(cls, task_id: str, number: int, score: int, nonce: bytes, miner: SecretKey) -> "Reveal":
        """Signs an opening."""
        document = {
            "taskID": task_id,
            "round": number,
            "miner": miner.address,
            "score": str(score),
            "nonce": to_hex(nonce),
        }
        return cls.from_envelope({"reveal": document, "signature": miner.sign("reveal", document)})

    def encode(self) -> bytes:
        """The JSON body of `POST .../reveal`; the same bytes for the same reveal."""
        return canonical(self.envelope)

    @classmethod
    def decode(cls, data: bytes | str) -> "Reveal":
        """Reads the JSON body. Raises Malformed."""
        return cls.from_envelope(read_json(data))

    @classmethod
    def from_envelope(cls, envelope: Any) -> "Reveal":
        """Reads {`reveal`, `signature`}, strictly parsed. Raises Malformed."""
        if not isinstance(envelope, dict) or not isinstance(envelope.get("reveal"), dict):
            raise Malformed("reveal: expected {reveal, signature}")
        signature = envelope.get("signature")
        if not isinstance(signature, str):
            raise Malformed("reveal: signature is missing")
        fields = convert(envelope["reveal"], _Fields, "reveal")
        if not _DECIMAL.fullmatch(fields.score) or int(fields.score) >= 2**256:
            raise Malformed(
                f"reveal: score must be decimal without leading zeros, below 2^256; got {fields.score[:80]!r}"
            )
        return cls(
            document=envelope["reveal"],
            task_id=fields.taskID,
            round=fields.round,
            miner=address_from_text(fields.miner, "reveal: miner"),
            score=int(fields.score),
            nonce=from_hex(fields.nonce, 32, "reveal: nonce"),
            signature=signature,
        )

    def check_signature(self) -> None:
        """Raises BadSignature unless the miner that it names signed."""
        check_signature("reveal", self.document, self.signature, self.miner, "the reveal's miner")
