"""DAGs and CARs made by hand, to be as wrong as a test wants."""

from collections.abc import Iterable

from pipeline.parties.ipfs.cid import DAG_PB, RAW, Cid
from pipeline.parties.ipfs.varint import write_varint
from pipeline.protocol.encodings import sha256

HEADER = b"\xa1\x67version\x01"


def raw(block: bytes) -> Cid:
    return Cid(codec=RAW, digest=sha256(block))


def binary(cid: Cid) -> bytes:
    return b"\x01" + write_varint(cid.codec) + b"\x12\x20" + cid.digest


def section(data: bytes) -> bytes:
    return write_varint(len(data)) + data


def car(blocks: Iterable[tuple[Cid, bytes]], header: bytes = HEADER) -> bytes:
    return section(header) + b"".join(section(binary(cid) + block) for cid, block in blocks)


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return write_varint(number << 3) + write_varint(value)
    return write_varint(number << 3 | 2) + section(value)


def node(
    links: Iterable[tuple[Cid, int]], *, kind: int = 2, data: bytes = b"", total: int | None = None
) -> tuple[Cid, bytes]:
    """A dag-pb node over (CID, size)s."""
    links = list(links)
    size = len(data) + sum(size for _, size in links) if total is None else total
    unixfs = field(1, kind) + (field(2, data) if data else b"") + field(3, size)
    unixfs += b"".join(field(4, size) for _, size in links)
    block = b"".join(field(2, field(1, binary(cid)) + field(2, b"")) for cid, _ in links) + field(1, unixfs)
    return Cid(codec=DAG_PB, digest=sha256(block)), block
