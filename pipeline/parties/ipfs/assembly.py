"""A file out of a CAR: its blocks go to a spool on the disk, then a walk from the requested CID writes them in order.

So a block that occurs once in the CAR may occur often in the file, and the order in the CAR does not matter. In memory are the
spool's index and one node per level.
"""

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from pipeline.parties.ipfs.car import BadSource, read_blocks
from pipeline.parties.ipfs.cid import Cid
from pipeline.parties.ipfs.dag_pb import Node, UnfitFile, read_node

#: 2 GiB in blocks of 16 KiB; with the usual 256 KiB it is 32 GiB. An index entry takes about 250 bytes.
MAX_BLOCKS = 2**17
#: A tree of 174 links a node needs four for 2 GiB.
MAX_DEPTH = 32


def traffic_limit(max_bytes: int) -> int:
    """Bytes of CAR that are read, and of blocks that are walked, for a file of `max_bytes`: links take up to one more each."""
    return 2 * max_bytes + 4 * 1024 * 1024


def write_file(cid: Cid, car: Iterable[bytes], path: Path, *, max_bytes: int) -> None:
    """Writes the file that `cid` names. `car`: chunks of a CAR v1 in any order, deduplicated or not.

    Raises BadSource where the CAR is not sound or lacks a block, UnfitFile where what the CID names is too large or no file.
    """
    with tempfile.TemporaryFile(dir=path.parent) as file:
        spool = _Spool(file)
        for label, block in read_blocks(car):
            spool.put(label, block)
        with path.open("wb") as sink:
            _Walk(spool, sink, max_bytes).run(cid)


class _Spool:
    """Blocks by their digest, on the disk."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._index: dict[bytes, tuple[int, int]] = {}
        self._end = 0

    def put(self, cid: Cid, block: bytes) -> None:
        if cid.digest in self._index:
            return
        if len(self._index) == MAX_BLOCKS:
            raise BadSource(f"CAR: more than {MAX_BLOCKS} blocks")
        self._index[cid.digest] = (self._end, len(block))
        self._file.write(block)
        self._end += len(block)

    def get(self, cid: Cid) -> bytes:
        if cid.digest not in self._index:
            raise BadSource(f"CAR: block {cid} is missing")
        offset, size = self._index[cid.digest]
        self._file.seek(offset)
        return self._file.read(size)


class _Walk:
    """Depth first. What is read is bounded, since a small DAG may refer to its blocks without end."""

    def __init__(self, spool: _Spool, sink: IO[bytes], max_bytes: int) -> None:
        self._spool, self._sink = spool, sink
        self._max_bytes = max_bytes
        self._left = traffic_limit(max_bytes)

    def run(self, cid: Cid) -> None:
        root = self._node(cid)
        if root.size > self._max_bytes:
            raise UnfitFile(
                f"IPFS {cid}: {root.size} bytes, at most {self._max_bytes} are fetched (FLFLEET_MAX_MODEL_BYTES)"
            )
        self._write(root, 1)

    def _write(self, node: Node, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise UnfitFile(f"IPFS: the file's tree is deeper than {MAX_DEPTH} levels")
        self._sink.write(node.data)
        for link, size in zip(node.links, node.sizes, strict=True):
            child = self._node(link)
            if child.size != size:
                raise UnfitFile(f"IPFS {link}: {child.size} bytes where the node above says {size}")
            self._write(child, depth + 1)

    def _node(self, cid: Cid) -> Node:
        block = self._spool.get(cid)
        self._left -= len(block)
        if self._left < 0:
            raise UnfitFile("IPFS: the file's tree is much larger than the file")
        return read_node(cid, block)
