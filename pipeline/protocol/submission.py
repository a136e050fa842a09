"""The submission and its receipt (docs/protocol.md, section 5)."""

import base64
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from pipeline.errors import Malformed
from pipeline.protocol.encodings import (
    PROTOCOL,
    address_from_text,
    checked_point33,
    from_hex,
    point33_from_public_key,
    scalar_from_hex,
)
from pipeline.protocol.file_bytes import Bytes, FileBytes
from pipeline.protocol.json_file import read_json_file
from pipeline.protocol.msgpack_file import joined, message_parts, read_message
from pipeline.protocol.signing import digest_of
from pipeline.protocol.strict import bytes_from_base64, convert, read_json

MSGPACK, JSON = "application/msgpack", "application/json"


class _Proof(msgspec.Struct, frozen=True, kw_only=True):
    t: str
    a: str
    z: str


class _Fields(msgspec.Struct, frozen=True, kw_only=True):
    protocol: str
    taskID: str
    round: int
    taskHash: str
    miner: str
    minerPublicKey: str
    maskKey: str
    ciphertextHash: str
    scoreCommit: str
    proof: _Proof
    wishHash: str | None = None


@dataclass(frozen=True, kw_only=True)
class Proof:
    """A Schnorr proof on a random combination of the ciphertext's points."""

    #: T = beta * H as SEC1 compressed.
    t: bytes
    #: sum of rho_g (r_g + s_g), below q.
    a: int
    #: beta + chi * b mod q.
    z: int


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a miner signs. Well-formed; nothing about it is verified yet."""

    #: The JSON object as received: what is hashed and passed on.
    document: dict[str, Any]
    task_id: str
    round: int
    #: `0x` + 64 hex digits, as are the following hashes.
    task_hash: str
    miner: str
    #: SEC1 compressed.
    miner_key: bytes
    #: E = e*g, SEC1 compressed.
    mask_key: bytes
    ciphertext_hash: str
    score_commit: str
    wish_hash: str | None
    proof: Proof

    @property
    def statement_hash(self) -> bytes:
        """h0: digest of kind `statement` over the header without `proof`."""
        return digest_of("statement", {name: value for name, value in self.document.items() if name != "proof"})

    @property
    def submission_hash(self) -> str:
        """Digest of kind `submission`: the submission's name everywhere."""
        return "0x" + digest_of("submission", self.document).hex()

    @classmethod
    def from_document(cls, document: Any) -> "Header":
        """Reads a header from a strictly parsed object. Raises Malformed; a member that is absent is `missing`."""
        if not isinstance(document, dict):
            raise Malformed("header: expected an object")
        fields = convert(document, _Fields, "header")
        if fields.protocol != PROTOCOL:
            raise Malformed(f"header: protocol is {fields.protocol[:40]!r}, expected {PROTOCOL!r}")
        for name in ("taskHash", "ciphertextHash", "scoreCommit"):
            from_hex(getattr(fields, name), 32, f"header: {name}")
        if fields.wishHash is not None:
            from_hex(fields.wishHash, 32, "header: wishHash")
        return cls(
            document=document,
            task_id=fields.taskID,
            round=fields.round,
            task_hash=fields.taskHash,
            miner=address_from_text(fields.miner, "header: miner"),
            miner_key=point33_from_public_key(fields.minerPublicKey, "header: minerPublicKey"),
            mask_key=_point33(fields.maskKey, "header: maskKey"),
            ciphertext_hash=fields.ciphertextHash,
            score_commit=fields.scoreCommit,
            wish_hash=fields.wishHash,
            proof=Proof(
                t=_point33(fields.proof.t, "proof of encryption: t"),
                a=scalar_from_hex(fields.proof.a, "proof of encryption: a"),
                z=scalar_from_hex(fields.proof.z, "proof of encryption: z"),
            ),
        )


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A header with its signature and its two bodies, which may lie on disk."""

    header: Header
    #: 65 bytes in hex, kind `submission`, over the header.
    signature: str
    #: points32 of U_0 .. U_G.
    ciphertext: Bytes
    #: Bitmap of the coordinates that the miner would like next, or None.
    wish: Bytes | None

    @property
    def parts(self) -> list[Bytes]:
        """The msgpack body of `submit-update` in parts; the same bytes for the same submission."""
        body: dict[str, Any] = {
            "header": self.header.document,
            "signature": self.signature,
            "ciphertext": self.ciphertext,
        }
        if self.wish is not None:
            body["wish"] = self.wish
        return message_parts(body)

    def encode(self) -> bytes:
        """All of it in memory."""
        return joined(self.parts)

    def encode_json(self) -> dict[str, Any]:
        """The JSON form, bins as base64."""
        body: dict[str, Any] = {
            "header": self.header.document,
            "signature": self.signature,
            "ciphertext": base64.b64encode(self.ciphertext[:]).decode(),
        }
        if self.wish is not None:
            body["wish"] = base64.b64encode(self.wish[:]).decode()
        return body

    @classmethod
    def decode(cls, data: Bytes, content_type: str = MSGPACK) -> "Submission":
        """Reads a body of either content type; the caller has bounded its size (`max_bytes`). Raises Malformed.

        Of a body in a file, ciphertext and wish stay there.
        """
        kind: Literal["msgpack", "json"] = "json" if content_type.split(";")[0].strip() == JSON else "msgpack"
        body = read_json_file(data) if kind == "json" else read_message(data)
        if not isinstance(body, dict):
            raise Malformed("submission: expected a map")
        signature = body.get("signature")
        if not isinstance(signature, str):
            raise Malformed("submission: signature is missing")
        ciphertext = _bin(body.get("ciphertext"), kind, "ciphertext")
        wish = None if body.get("wish") is None else _bin(body["wish"], kind, "wish")
        return cls(
            header=Header.from_document(body.get("header")), signature=signature, ciphertext=ciphertext, wish=wish
        )


def max_bytes(groups: int, dimension: int) -> int:
    """The largest msgpack body that an aggregator reads: 33*(G+1) + ceil(d/8) + 65536."""
    return 33 * (groups + 1) + (dimension + 7) // 8 + 65536


def points32_size(points: int) -> int:
    """Bytes of `points32` of n points."""
    return 32 * points + (points + 7) // 8


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """The aggregator's signed word that it holds a submission."""

    document: dict[str, Any]
    submission_hash: str
    #: Unix seconds.
    received_at: int

    @classmethod
    def decode(cls, data: bytes) -> "Receipt":
        """Reads an answer to `submit-update`. Raises Malformed; check the signature with kind `receipt`."""
        document = read_json(data)

        class Fields(msgspec.Struct, frozen=True):
            submissionHash: str
            receivedAt: int
            signature: str

        fields = convert(document, Fields, "receipt")
        return cls(document=document, submission_hash=fields.submissionHash, received_at=fields.receivedAt)


def _point33(text: str, what: str) -> bytes:
    return checked_point33(from_hex(text, 33, what), what).format()


def _bin(value: Any, kind: Literal["msgpack", "json"], what: str) -> Bytes:
    if kind == "json" and isinstance(value, str):
        return bytes_from_base64(value, what)
    if isinstance(value, FileBytes) or (kind == "msgpack" and isinstance(value, bytes)):
        return value
    raise Malformed(f"submission: {what} is missing or of another type")
