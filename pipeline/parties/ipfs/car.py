"""CAR version 1: a header, then blocks, each as varint(length) || CID || bytes. Read as a stream, every block hashed.

The header's roots are not looked at: a source could name what it likes there. The walk starts at the CID that was asked for.
"""

from collections.abc import Iterable, Iterator

from pipeline.errors import Malformed, Retryable
from pipeline.parties.ipfs.cid import Cid, take_cid
from pipeline.parties.ipfs.varint import read_varint

#: The largest block that IPFS nodes exchange.
MAX_BLOCK_BYTES = 2 * 1024 * 1024
_MAX_HEADER_BYTES = 64 * 1024
_MAX_CID_BYTES = 64
#: DAG-CBOR sorts keys by length, so that the version stands last: "version": 1.
_HEADER_END = b"\x67version\x01"


class BadSource(Retryable):
    """A source's bytes are not what its CID says. Another source, or this one later, may do better."""


class ByteStream:
    """Exact reads from chunks of any size; holds at most one chunk and what is asked for."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = memoryview(b"")

    def at_end(self) -> bool:
        """Whether nothing is left."""
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return True
            self._rest = memoryview(chunk)
        return False

    def read(self, size: int) -> bytes:
        """The next `size` bytes. Raises BadSource where there are fewer."""
        parts = bytearray()
        while len(parts) < size:
            if self.at_end():
                raise BadSource(f"CAR: ends after {len(parts)} of {size} bytes of a block")
            piece = self._rest[: size - len(parts)]
            parts += piece
            self._rest = self._rest[len(piece) :]
        return bytes(parts)


def read_blocks(chunks: Iterable[bytes]) -> Iterator[tuple[Cid, bytes]]:
    """Every block with its CID, hashed. Raises BadSource: no CAR v1, cut off, a block too large or not its CID's."""
    stream = ByteStream(chunks)
    _check_header(stream)
    while not stream.at_end():
        section = _section(stream, MAX_BLOCK_BYTES + _MAX_CID_BYTES, "block")
        try:
            cid, end = take_cid(section, 0)
        except Malformed as error:
            raise BadSource(f"CAR: a block is not labelled by a CID that is read here ({error})") from None
        block = section[end:]
        if len(block) > MAX_BLOCK_BYTES:
            raise BadSource(f"CAR: a block of {len(block)} bytes, at most {MAX_BLOCK_BYTES} are read")
        if not cid.matches(block):
            raise BadSource(f"CAR: the bytes of block {cid} have another hash")
        yield cid, block


def _check_header(stream: ByteStream) -> None:
    header = _section(stream, _MAX_HEADER_BYTES, "header")
    if header[:1] not in (b"\xa1", b"\xa2") or not header.endswith(_HEADER_END):
        raise BadSource("CAR: the answer does not begin as a CAR of version 1 does")


def _section(stream: ByteStream, most: int, what: str) -> bytes:
    try:
        size = read_varint(lambda: stream.read(1)[0], f"CAR: {what}")
    except Malformed as error:
        raise BadSource(str(error)) from None
    if not 0 < size <= most:
        raise BadSource(f"CAR: a {what} of {size} bytes, expected 1 to {most}")
    return stream.read(size)
