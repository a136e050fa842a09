"""JSON messages whose bodies are as long as a model, in base64: read from files, the bodies never in memory as a whole."""

import base64
import binascii
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipeline.errors import Malformed
from pipeline.protocol.file_bytes import PIECE, Bytes, FileBytes
from pipeline.protocol.strict import read_json

#: Base64 digits from which on a text stays in its file. No header holds one: a submission has 64 KiB besides its bodies.
LONG = 128 * 1024
#: Bytes of a message beside its long texts.
_MAX_BESIDE = 8 * 1024 * 1024
_DIGITS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
_IS_DIGIT = bytes(byte in _DIGITS for byte in range(256))


def read_json_file(data: Bytes) -> Any:
    """As `strict.read_json`; of an object in a file, its members of long base64 stay there (`Base64Bytes`). Raises Malformed."""
    if not isinstance(data, FileBytes):
        return read_json(bytes(data))
    mark = secrets.token_hex(16)
    kept: dict[str, Base64Bytes] = {}
    small, at = [], 0
    for text in _long_texts(data):
        name = f"{mark}{len(kept)}"
        kept[name] = Base64Bytes.checked(data.part(text.start, text.stop))
        small += [data[at : text.start], name.encode()]
        at = text.stop
    small.append(data[at:])
    found = read_json(b"".join(small))
    if isinstance(found, dict):
        found = {name: kept.pop(value, value) if isinstance(value, str) else value for name, value in found.items()}
    if kept:
        raise Malformed(f"a text of more than {LONG} characters where none belongs")
    return found


def _long_texts(data: FileBytes) -> Iterator[range]:
    """Where texts of long base64 stand, without their quotes. Raises Malformed where there is too much beside them."""
    beside, start, quoted = 0, 0, False
    for at in range(0, len(data), PIECE):
        piece = data[at : at + PIECE]
        others = piece.translate(_IS_DIGIT)  # 0 where a byte is no digit
        place = others.find(0)
        while place >= 0:
            end = at + place
            is_quote = piece[place] == ord('"')
            if end - start >= LONG and quoted and is_quote:
                yield range(start, end)
            else:
                beside += end - start
            beside, start, quoted = beside + 1, end + 1, is_quote
            if beside > _MAX_BESIDE:
                raise Malformed(f"JSON of more than {_MAX_BESIDE} bytes beside its long texts")
            place = others.find(0, place + 1)
    if beside + len(data) - start > _MAX_BESIDE:
        raise Malformed(f"JSON of more than {_MAX_BESIDE} bytes beside its long texts")


@dataclass(frozen=True)
class _Digits:
    """Where a part's digits are read from, as `FileBytes` reads."""

    text: FileBytes

    def read(self, start: int, count: int) -> bytes:
        first, skip = divmod(start, 3)
        quads = (skip + count + 2) // 3
        try:
            made = base64.b64decode(self.text[4 * first : 4 * (first + quads)], validate=True)
        except (binascii.Error, ValueError):
            raise Malformed("not valid base64") from None
        return made[skip : skip + count]


class Base64Bytes(FileBytes):
    """The bytes that a text of base64 in a file stands for, decoded as they are asked for."""

    @classmethod
    def checked(cls, text: FileBytes) -> "Base64Bytes":
        """Raises Malformed where it is no standard base64: each digit is looked at once."""
        padding = len(text[-2:]) - len(text[-2:].rstrip(b"="))
        size = len(text) // 4 * 3 - padding
        made = cls(_Digits(text), 0, size)
        if len(text) % 4 or sum(len(made[at : at + _STEP]) for at in range(0, size, _STEP)) != size:
            raise Malformed("not valid base64")
        return made


#: A multiple of 3, so that pieces meet between two groups of digits.
_STEP = 3 * PIECE // 4
