"""msgpack messages whose bodies are as long as a model: read from and written to files, the bodies never in memory as a whole.

Such a message is a map; its bins, and those in its lists, are the bodies. The rest is small, and read as `strict` reads it.
"""

from collections.abc import Mapping
from typing import Any

import msgpack

from pipeline.errors import Malformed
from pipeline.protocol.file_bytes import Bytes, FileBytes, pieces
from pipeline.protocol.strict import MAX_DEPTH, MSGPACK_RULES, check_value, read_msgpack, write_msgpack

#: Bytes of a member that is no body: a key request of 5,000 participants stays below it.
MAX_MEMBER_BYTES = 8 * 1024 * 1024
_MAX_MEMBERS = 64
_MAX_ENTRIES = 2**16
#: First byte of a bin, str-free: how many bytes of length follow.
_BIN = {0xC4: 1, 0xC5: 2, 0xC6: 4}
_NIL = 0xC0


def read_message(data: Bytes) -> Any:
    """As `strict.read_msgpack`; of a map in a file, the bins and those in its lists stay there (`FileBytes`). Raises Malformed."""
    return _Reader(data).message() if isinstance(data, FileBytes) else read_msgpack(bytes(data))


def message_parts(members: Mapping[str, Any]) -> list[Bytes]:
    """The parts whose bytes, joined, are `strict.write_msgpack` of the map: bodies as they are, between them what is small."""
    packer = msgpack.Packer(use_bin_type=True)
    parts: list[Bytes] = [packer.pack_map_header(len(members))]
    for name, value in members.items():
        parts.append(write_msgpack(name))
        if isinstance(value, list):
            parts.append(packer.pack_array_header(len(value)))
        for entry in value if isinstance(value, list) else [value]:
            is_body = isinstance(entry, Bytes)
            parts += [_bin_header(len(entry)), entry] if is_body else [write_msgpack(entry)]
    return parts


def joined(parts: list[Bytes]) -> bytes:
    """All of it in memory."""
    return b"".join(pieces(*parts))


def _bin_header(size: int) -> bytes:
    for first, width in _BIN.items():
        if size < 256**width:
            return bytes([first]) + size.to_bytes(width, "big")
    raise ValueError(f"msgpack holds no {size} bytes in one body")


class _Reader:
    """Reads one message from its beginning."""

    def __init__(self, data: FileBytes) -> None:
        self._data, self._at = data, 0

    def message(self) -> dict[str, Any]:
        first, found = self._byte(), dict[str, Any]()
        count = self._count(first, few=0x80, wide=0xDE)
        if count is None:
            raise Malformed("not valid msgpack: expected a map")
        if count > _MAX_MEMBERS:
            raise Malformed(f"not valid msgpack: a map of more than {_MAX_MEMBERS} members")
        for _ in range(count):
            name = self._small()
            if not isinstance(name, str):
                raise Malformed("not valid msgpack: keys must be texts")
            if name in found:
                raise Malformed(f"not valid msgpack: key {name[:80]!r} stands twice")
            found[name] = self._value()
        if self._at != len(self._data):
            raise Malformed("not valid msgpack: bytes behind its end")
        return found

    def _value(self) -> Any:
        start, first = self._at, self._byte()
        count = self._count(first, few=0x90, wide=0xDC)
        if count is None:
            self._at = start
            return self._entry()
        if count > _MAX_ENTRIES:
            raise Malformed(f"not valid msgpack: a list of more than {_MAX_ENTRIES} entries")
        return [self._entry() for _ in range(count)]

    def _entry(self) -> Any:
        """A body, or what is small."""
        first = self._byte()
        if first == _NIL:
            return None
        if first not in _BIN:
            self._at -= 1
            return self._small()
        size = self._number(_BIN[first])
        if size > len(self._data) - self._at:
            raise Malformed("not valid msgpack: it ends within a body")
        self._at += size
        return self._data.part(self._at - size, self._at)

    def _small(self) -> Any:
        unpacker = msgpack.Unpacker(_Stream(self._data, self._at), max_buffer_size=MAX_MEMBER_BYTES, **MSGPACK_RULES)
        try:
            value = unpacker.unpack()
        except (ValueError, msgpack.exceptions.UnpackException, RecursionError) as error:
            raise Malformed(f"not valid msgpack: {error}") from None
        check_value(value, MAX_DEPTH - 1)
        self._at += unpacker.tell()
        return value

    def _count(self, first: int, *, few: int, wide: int) -> int | None:
        """How many entries a map or list has whose first byte was read; None: it is another thing."""
        if first & 0xF0 == few:
            return first & 0x0F
        return self._number(2 if first == wide else 4) if first in (wide, wide + 1) else None

    def _byte(self) -> int:
        return self._number(1)

    def _number(self, width: int) -> int:
        part = self._data[self._at : self._at + width]
        if len(part) != width:
            raise Malformed("not valid msgpack: it ends too early")
        self._at += width
        return int.from_bytes(part, "big")


class _Stream:
    """A file for the library, from a place on."""

    def __init__(self, data: FileBytes, at: int) -> None:
        self._data, self._at = data, at

    def read(self, count: int) -> bytes:
        part = self._data[self._at : self._at + count]
        self._at += len(part)
        return part
