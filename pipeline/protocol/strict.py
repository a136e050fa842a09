"""JSON and msgpack from the network, read strictly: docs/protocol.md, section 1.

Duplicate keys, NaN, infinities and integers beyond 2^53 - 1 are refused; in msgpack keys and texts are str and there are no
extension types. Callers bound the size before they hand bytes in.
"""

import base64
import binascii
import json
import math
import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgpack
import msgspec

from pipeline.errors import Malformed

MAX_SAFE_INTEGER = 2**53 - 1
MAX_DEPTH = 32
T = TypeVar("T")
#: Possessive, and the closing quote optional: one pass over any bytes.
_TEXT = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_BRACES = bytes.maketrans(b"{}", b"[]")
_TOO_DEEP = b"[" * (MAX_DEPTH + 2)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def read_json(data: bytes | str) -> Any:
    """Parses strict JSON in UTF-8. Raises Malformed with the reason."""
    try:
        text = data if isinstance(data, str) else data.decode()
        _check_nesting(text.encode())
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_int=_safe_int)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"not valid JSON: {error}") from None
    check_value(value, MAX_DEPTH)
    return value


def read_msgpack(data: bytes) -> Any:
    """Parses strict msgpack. Raises Malformed with the reason."""
    try:
        value = msgpack.unpackb(data, **MSGPACK_RULES)
    except (ValueError, msgpack.exceptions.UnpackException, RecursionError) as error:
        raise Malformed(f"not valid msgpack: {error}") from None
    check_value(value, MAX_DEPTH)
    return value


def write_msgpack(value: Any) -> bytes:
    """Encodes maps, lists, str, int, float and bytes."""
    return bytes(msgpack.packb(value, use_bin_type=True))


def convert(value: Any, to: type[T], what: str) -> T:
    """Checks `value` against the message type `to`; members that it does not know are left aside. Raises Malformed."""
    try:
        return msgspec.convert(value, to, strict=True)
    except msgspec.ValidationError as error:
        raise Malformed(f"{what}: {error}") from None


def bytes_from_base64(text: str, what: str) -> bytes:
    """Reads standard base64 strictly. Raises Malformed."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Malformed(f"{what}: not valid base64") from None


def _check_nesting(data: bytes) -> None:
    """Before the parser recurses: libraries raise the recursion limit (py_ecc to 100,000), and then deep JSON ends the process."""
    brackets = _TEXT.sub(b"", data).translate(_BRACES, _NO_BRACKETS)
    for _ in range(MAX_DEPTH + 1):
        if _TOO_DEEP in brackets:
            break
        brackets = brackets.replace(b"[]", b"")
    if brackets:
        raise ValueError(f"nested deeper than {MAX_DEPTH}, or brackets without their partners")


def _unique(pairs: list[tuple[Any, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if not isinstance(key, str):
            raise ValueError("keys must be texts")
        if key in found:
            raise ValueError(f"key {key[:80]!r} stands twice")
        found[key] = value
    return found


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not allowed")


def _safe_int(text: str) -> int:
    if len(text) > 17:
        raise ValueError("an integer beyond 2^53 - 1")
    return int(text)


def _no_extension(code: int, _data: bytes) -> Any:
    raise ValueError(f"msgpack extension type {code} is not allowed")


def check_value(value: Any, depth: int) -> None:
    """Raises Malformed for what a message may not hold; `depth`: levels that it may have."""
    if depth < 0:
        raise Malformed(f"nested deeper than {MAX_DEPTH}")
    if isinstance(value, dict):
        for item in value.values():
            check_value(item, depth - 1)
    elif isinstance(value, list):
        for item in value:
            check_value(item, depth - 1)
    elif isinstance(value, bool) or value is None or isinstance(value, bytes):
        return
    elif isinstance(value, int):
        if abs(value) > MAX_SAFE_INTEGER:
            raise Malformed("an integer beyond 2^53 - 1")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise Malformed("NaN and infinities are not allowed")
    elif isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Malformed("a text that is not valid Unicode") from None
    else:
        raise Malformed(f"a value of type {type(value).__name__} is not allowed")


#: How msgpack is read: everywhere alike.
MSGPACK_RULES: Mapping[str, Any] = {
    "raw": False,
    "strict_map_key": True,
    "object_pairs_hook": _unique,
    "ext_hook": _no_extension,
    "timestamp": 0,
}
