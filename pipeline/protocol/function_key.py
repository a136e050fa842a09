"""The aggregator's key request and the publisher's answer (docs/protocol.md, section 6)."""

from dataclasses import dataclass
from typing import Any

import msgspec

from pipeline.errors import Malformed
from pipeline.protocol.encodings import from_hex, keccak256_of, scalar_from_hex, to_hex
from pipeline.protocol.file_bytes import Bytes
from pipeline.protocol.msgpack_file import joined, message_parts, read_message
from pipeline.protocol.signing import digest_of
from pipeline.protocol.strict import convert, read_json
from pipeline.protocol.submission import Header


@dataclass(frozen=True, kw_only=True)
class SignedHeader:
    """A submission as the publisher sees it: never its ciphertext."""

    header: Header
    signature: str


class _Entry(msgspec.Struct, frozen=True, kw_only=True):
    header: dict[str, Any]
    signature: str


class _Fields(msgspec.Struct, frozen=True, kw_only=True):
    taskID: str
    round: int
    taskHash: str
    submissions: list[_Entry]
    maskSums: list[str]


@dataclass(frozen=True, kw_only=True)
class KeyRequest:
    """Which submissions a round is made of, in order of receipt."""

    document: dict[str, Any]
    task_id: str
    round: int
    task_hash: str
    submissions: tuple[SignedHeader, ...]
    #: S_i = sum of rho_g s_g over g = 0 .. G, of submission i; below q.
    mask_sums: tuple[int, ...]
    #: The aggregator's signature, kind `key-request`.
    signature: str

    @property
    def request_hash(self) -> str:
        """Digest of kind `key-request`."""
        return "0x" + digest_of("key-request", self.document).hex()

    @property
    def envelope(self) -> dict[str, Any]:
        """The JSON body of `POST /publisher/function-key`."""
        return {"request": self.document, "signature": self.signature}

    @classmethod
    def decode(cls, data: bytes) -> "KeyRequest":
        """Reads the JSON body. Raises Malformed."""
        return cls.from_envelope(read_json(data))

    @classmethod
    def from_envelope(cls, envelope: Any) -> "KeyRequest":
        """Reads {`request`, `signature`}, strictly parsed. Raises Malformed."""
        if not isinstance(envelope, dict) or not isinstance(envelope.get("request"), dict):
            raise Malformed("key request: expected {request, signature}")
        signature = envelope.get("signature")
        if not isinstance(signature, str):
            raise Malformed("key request: signature is missing")
        document = envelope["request"]
        fields = convert(document, _Fields, "key request")
        from_hex(fields.taskHash, 32, "key request: taskHash")
        if len(fields.maskSums) != len(fields.submissions):
            raise Malformed("key request: one mask sum a submission is needed")
        return cls(
            document=document,
            task_id=fields.taskID,
            round=fields.round,
            task_hash=fields.taskHash,
            signature=signature,
            submissions=tuple(
                SignedHeader(header=Header.from_document(entry.header), signature=entry.signature)
                for entry in fields.submissions
            ),
            mask_sums=tuple(scalar_from_hex(text, "key request: maskSums") for text in fields.maskSums),
        )


@dataclass(frozen=True, kw_only=True)
class FunctionKey:
    """k_g = sum over miners of r_g, for one request, signed by the publisher."""

    #: 32 big-endian bytes each, g = 0 .. G-1; they may lie on disk.
    key: Bytes
    #: Kind `key`, over `body`.
    signature: str

    @property
    def key_hash(self) -> str:
        """keccak256 of the key."""
        return to_hex(keccak256_of(self.key))

    def body(self, request: KeyRequest) -> dict[str, Any]:
        """The signed part: which request this key answers."""
        return key_body(request, self.key_hash)

    @property
    def parts(self) -> list[Bytes]:
        """The msgpack answer in parts."""
        return message_parts({"key": self.key, "signature": self.signature})

    def encode(self) -> bytes:
        """All of it in memory."""
        return joined(self.parts)

    @classmethod
    def decode(cls, data: Bytes) -> "FunctionKey":
        """Reads the msgpack answer; of one in a file the key stays there. Raises Malformed."""
        body = read_message(data)
        if (
            not isinstance(body, dict)
            or not isinstance(body.get("key"), Bytes)
            or not isinstance(body.get("signature"), str)
        ):
            raise Malformed("function key: expected {key: bin, signature}")
        return cls(key=body["key"], signature=body["signature"])


def key_body(request: KeyRequest, key_hash: str) -> dict[str, Any]:
    """{`taskID`, `round`, `requestHash`, `keyHash`}, what kind `key` signs."""
    return {"taskID": request.task_id, "round": request.round, "requestHash": request.request_hash, "keyHash": key_hash}
