"""Unsigned varints (multiformats, protobuf): seven bits a byte, the lowest first."""

from collections.abc import Callable

from pipeline.errors import Malformed

#: Nine bytes hold 63 bits, the multiformats limit.
MAX_BYTES = 9


def read_varint(read_byte: Callable[[], int], what: str) -> int:
    """Reads one varint. Raises Malformed: too long, or longer than it need be."""
    value = 0
    for position in range(MAX_BYTES):
        byte = read_byte()
        value |= (byte & 0x7F) << (7 * position)
        if byte < 0x80:
            if byte == 0 and position > 0:
                raise Malformed(f"{what}: a number is padded with zeros")
            return value
    raise Malformed(f"{what}: a number is longer than {MAX_BYTES} bytes")


def take_varint(data: bytes, position: int, what: str) -> tuple[int, int]:
    """Reads one varint out of bytes; returns it and the position behind it. Raises Malformed."""
    cursor = position

    def read_byte() -> int:
        nonlocal cursor
        if cursor >= len(data):
            raise Malformed(f"{what}: ends within a number")
        cursor += 1
        return data[cursor - 1]

    return read_varint(read_byte, what), cursor


def write_varint(value: int) -> bytes:
    """The shortest form."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
