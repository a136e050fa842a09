"""The two generators: g of secp256k1, and H, whose logarithm to g nobody knows (PROTOCOL.md section 1)."""

import hashlib
from itertools import count

import coincurve

from pipeline.curve.contract import P

_LABEL = b"ndd-fe/1 generator"
#: g as SEC1 compressed.
G33 = bytes.fromhex("0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798")


def derive_h() -> bytes:
    """The point with even y whose x is SHA256(label || byte i), for the first i that gives an x of the curve."""
    for i in count():
        candidate = b"\x02" + hashlib.sha256(_LABEL + bytes([i])).digest()
        try:
            return coincurve.PublicKey(candidate).format()
        except ValueError:
            continue
    raise AssertionError("half of all x are on the curve")


#: H as SEC1 compressed.
H33 = derive_h()


def affine(point33: bytes) -> tuple[int, int]:
    """x and y of a SEC1 compressed point that is known to be one."""
    raw = coincurve.PublicKey(point33).format(compressed=False)
    return int.from_bytes(raw[1:33], "big"), int.from_bytes(raw[33:], "big")


def negated(point33: bytes) -> bytes:
    """-P."""
    return bytes([point33[0] ^ 1]) + point33[1:]


def lift_x(x: int) -> int | None:
    """An y with y^2 = x^3 + 7, or None where x is on no point."""
    square = (x * x * x + 7) % P
    y = pow(square, (P + 1) // 4, P)
    return y if y * y % P == square else None
