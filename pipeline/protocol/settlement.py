"""What a round's participants are paid: shares of the revealed scores, signed by the aggregator (docs/protocol.md, section 8)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from pipeline.errors import Malformed, Rejected
from pipeline.protocol.block import Block
from pipeline.protocol.encodings import address_from_text, from_hex
from pipeline.protocol.signing import SecretKey, canonical, check_embedded_signature
from pipeline.protocol.strict import convert, read_json

#: A round's reward in the units that shares are counted in.
TOTAL_UNITS = 10**9
MAX_SETTLEMENT_BYTES = 1024 * 1024


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """One participant's part."""

    miner: str
    #: Units of `totalUnits`.
    share: int
    #: Decimal; absent (null) where it did not reveal.
    score: str | None


class _Fields(msgspec.Struct, frozen=True, kw_only=True):
    taskID: str
    round: int
    blockHash: str
    totalUnits: int
    shares: list[Share]
    settledAt: int
    signature: str


@dataclass(frozen=True, kw_only=True)
class Settlement:
    """Who gets what. `fields` is the typed view of `document`."""

    document: dict[str, Any]
    fields: _Fields

    @classmethod
    def make(cls, block: Block, scores: Mapping[str, int], settled_at: int, aggregator: SecretKey) -> "Settlement":
        """Settles a block. `scores`: scoreUint by miner, of those that revealed; `settled_at`: Unix seconds."""
        document: dict[str, Any] = {
            "taskID": block.fields.taskID,
            "round": block.fields.round,
            "blockHash": block.block_hash,
            "totalUnits": TOTAL_UNITS,
            "shares": _shares(block, scores, TOTAL_UNITS),
            "settledAt": settled_at,
        }
        return cls.from_document(document | {"signature": aggregator.sign("settlement", document)})

    def encode(self) -> bytes:
        """The JSON answer."""
        return canonical(self.document)

    @classmethod
    def decode(cls, data: bytes | str) -> "Settlement":
        """Reads the JSON answer. Raises Malformed; `check` says whether it is right."""
        return cls.from_document(read_json(data))

    @classmethod
    def from_document(cls, document: Any) -> "Settlement":
        """Reads a settlement from a strictly parsed object. Raises Malformed."""
        fields = convert(document, _Fields, "settlement")
        from_hex(fields.blockHash, 32, "settlement: blockHash")
        for one in fields.shares:
            address_from_text(one.miner, "settlement: miner")
            if one.score is not None and not (one.score.isdecimal() and one.score.isascii() and len(one.score) <= 78):
                raise Malformed(f"settlement: score is {one.score[:80]!r}, expected decimal digits")
        return cls(document=document, fields=fields)

    def check(self, block: Block, aggregator: str) -> None:
        """Raises BadSignature, or Rejected where it is of another block or its shares are not those of its scores."""
        check_embedded_signature("settlement", self.document, aggregator, "the aggregator's settlement")
        fields = self.fields
        if fields.blockHash != block.block_hash:
            raise Rejected(f"settlement: of block {fields.blockHash}, expected {block.block_hash}")
        scores = {one.miner: int(one.score) for one in fields.shares if one.score is not None}
        if self.document["shares"] != _shares(block, scores, fields.totalUnits):
            raise Rejected("settlement: the shares are not those of its scores")


def shares(scores: Mapping[str, int], total: int) -> dict[str, int]:
    """score / sum in units of `total`, by largest remainder: exact to the last unit. Ties go to who comes first.

    A sum of 0 pays nobody.
    """
    whole = sum(scores.values())
    if whole == 0:
        return dict.fromkeys(scores, 0)
    units = {miner: total * score // whole for miner, score in scores.items()}
    by_remainder = sorted(scores, key=lambda miner: -(total * scores[miner] % whole))
    for miner in by_remainder[: total - sum(units.values())]:
        units[miner] += 1
    return units


def _shares(block: Block, scores: Mapping[str, int], total: int) -> list[dict[str, Any]]:
    """In the order of the block's participants; who did not reveal is shown with nothing."""
    order = [one.miner for one in block.fields.participants]
    units = shares({miner: scores[miner] for miner in order if miner in scores}, total)
    return [
        {"miner": miner, "share": units.get(miner, 0), "score": str(scores[miner]) if miner in scores else None}
        for miner in order
    ]
