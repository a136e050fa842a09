"""The candidate block and its audit data (docs/protocol.md, section 8)."""

from dataclasses import dataclass
from typing import Any

import msgspec

from pipeline.errors import Malformed
from pipeline.protocol.encodings import PROTOCOL, address_from_text, from_hex
from pipeline.protocol.file_bytes import Bytes
from pipeline.protocol.msgpack_file import joined, message_parts, read_message
from pipeline.protocol.signing import digest_of
from pipeline.protocol.strict import convert, read_json

#: Bytes of a block's JSON that a reader takes: 1,000 participants and as many dropped groups stay below it.
MAX_BLOCK_BYTES = 4 * 1024 * 1024


class Participant(msgspec.Struct, frozen=True, kw_only=True):
    """A miner whose submission is in the sum."""

    miner: str
    submissionHash: str
    scoreCommit: str


class _Fields(msgspec.Struct, frozen=True, kw_only=True):
    protocol: str
    taskID: str
    round: int
    taskHash: str
    parentModelHash: str
    modelHash: str
    modelURL: str
    accuracy: float
    participants: list[Participant]
    requestHash: str
    keyHash: str
    keySignature: str
    maskSumHash: str
    aggregateHash: str
    dropped: list[int]
    nextSupportHash: str
    createdAt: int
    signature: str
    parentBlockHash: str | None = None


@dataclass(frozen=True, kw_only=True)
class Block:
    """One round's result, signed by the aggregator. `fields` is the typed view of `document`."""

    document: dict[str, Any]
    fields: _Fields

    @property
    def block_hash(self) -> str:
        """Digest of kind `block`."""
        return "0x" + digest_of("block", self.document).hex()

    @classmethod
    def decode(cls, data: bytes) -> "Block":
        """Reads a block's JSON. Raises Malformed; the signature is the caller's to check (kind `block`)."""
        document = read_json(data)
        fields = convert(document, _Fields, "block")
        if fields.protocol != PROTOCOL:
            raise Malformed(f"block: protocol is {fields.protocol[:40]!r}, expected {PROTOCOL!r}")
        for name in (
            "taskHash",
            "parentModelHash",
            "modelHash",
            "requestHash",
            "keyHash",
            "maskSumHash",
            "aggregateHash",
            "nextSupportHash",
        ):
            from_hex(getattr(fields, name), 32, f"block: {name}")
        for participant in fields.participants:
            address_from_text(participant.miner, "block: participant")
        if any(group < 0 for group in fields.dropped):
            raise Malformed("block: dropped names a negative group")
        return cls(document=document, fields=fields)


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What lets anyone check a block's sum without learning a miner's values. All but the request may lie on disk."""

    #: The key request's envelope, {`request`, `signature`}.
    request: dict[str, Any]
    #: M_g, 32 big-endian bytes each.
    mask_sums: Bytes
    #: X for the k coordinates of the support, int64 little-endian.
    aggregate: Bytes
    #: One bitmap or None per participant, in the request's order.
    wishes: tuple[Bytes | None, ...]

    @property
    def parts(self) -> list[Bytes]:
        """The msgpack answer of `.../audit` in parts."""
        return message_parts(
            {
                "request": self.request,
                "maskSums": self.mask_sums,
                "aggregate": self.aggregate,
                "wishes": list(self.wishes),
            }
        )

    def encode(self) -> bytes:
        """All of it in memory."""
        return joined(self.parts)

    @classmethod
    def decode(cls, data: Bytes) -> "Audit":
        """Reads the msgpack answer, whose size the caller has bounded; of one in a file the bodies stay there. Raises Malformed."""
        body = read_message(data)
        if not (
            isinstance(body, dict)
            and isinstance(body.get("request"), dict)
            and isinstance(body.get("maskSums"), Bytes)
            and isinstance(body.get("aggregate"), Bytes)
            and isinstance(body.get("wishes"), list)
            and all(wish is None or isinstance(wish, Bytes) for wish in body["wishes"])
        ):
            raise Malformed("audit: expected {request, maskSums, aggregate, wishes}")
        return cls(
            request=body["request"],
            mask_sums=body["maskSums"],
            aggregate=body["aggregate"],
            wishes=tuple(body["wishes"]),
        )
