"""A node of a file's DAG: dag-pb (protobuf: Data = 1, Links = 2 {Hash = 1}) around UnixFS (Type, Data, filesize, blocksizes)."""

from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.errors import Malformed
from pipeline.parties.ipfs.cid import RAW, Cid, take_cid
from pipeline.parties.ipfs.varint import take_varint

#: Implementations write 174 or 1024 links a node.
MAX_LINKS = 8192
_KINDS = {1: "a directory", 3: "metadata", 4: "a symbolic link", 5: "a sharded directory"}
_VARINT, _BYTES = 0, 2


class UnfitFile(Malformed):
    """What the CID names is not taken, whoever serves it: its own hashes prove what is wrong."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """What a block of a file says: its own bytes come first, then those of its links, in order."""

    data: bytes
    links: tuple[Cid, ...]
    #: Bytes of the file below each link.
    sizes: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes of the file from this node on."""
        return len(self.data) + sum(self.sizes)


def read_node(cid: Cid, block: bytes) -> Node:
    """Reads a block that has been held against its CID. Raises UnfitFile: no file, or sizes that contradict each other."""
    if cid.codec == RAW:
        return Node(data=block, links=(), sizes=())
    try:
        return _dag_pb_node(block)
    except Malformed as error:
        raise UnfitFile(f"IPFS {cid}: {error}") from None


def _dag_pb_node(block: bytes) -> Node:
    links: list[Cid] = []
    unixfs: bytes | None = None
    for number, value in _fields(block, "dag-pb"):
        if number == 2 and isinstance(value, bytes):
            if len(links) == MAX_LINKS:
                raise Malformed(f"a node has more than {MAX_LINKS} links")
            links.append(_link(value))
        elif number == 1 and isinstance(value, bytes) and unixfs is None:
            unixfs = value
        else:
            raise Malformed("is no dag-pb node")
    if unixfs is None:
        raise Malformed("is no UnixFS file")
    return _file(unixfs, tuple(links))


def _file(unixfs: bytes, links: tuple[Cid, ...]) -> Node:
    kind: int | None = None
    total: int | None = None
    data, sizes = b"", []
    for number, value in _fields(unixfs, "UnixFS"):
        if number == 1 and isinstance(value, int):
            kind = value
        elif number == 2 and isinstance(value, bytes):
            data = value
        elif number == 3 and isinstance(value, int):
            total = value
        elif number == 4 and isinstance(value, int):
            sizes.append(value)
    if kind not in (0, 2):
        found = _KINDS.get(-1 if kind is None else kind, "of an unknown kind")
        raise Malformed(f"is {found}, expected a file; name the CID of the model file itself")
    node = Node(data=data, links=links, sizes=tuple(sizes))
    if len(sizes) != len(links) or (total is not None and total != node.size) or (links and min(sizes) < 1):
        raise Malformed("a node's sizes contradict each other")
    return node


def _link(data: bytes) -> Cid:
    for number, value in _fields(data, "dag-pb link"):
        if number == 1 and isinstance(value, bytes):
            cid, end = take_cid(value, 0)
            if end == len(value):
                return cid
    raise Malformed("dag-pb: a link without a CID")


def _fields(data: bytes, what: str) -> Iterator[tuple[int, int | bytes]]:
    position = 0
    while position < len(data):
        key, position = take_varint(data, position, what)
        value, position = take_varint(data, position, what)
        if key & 7 == _VARINT:
            yield key >> 3, value
        elif key & 7 == _BYTES and position + value <= len(data):
            yield key >> 3, data[position : position + value]
            position += value
        else:
            raise Malformed(f"{what}: is no protobuf that is read here, or is cut off")
