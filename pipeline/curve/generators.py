"""The second generator H, whose logarithm nobody knows (docs/protocol.md, section 1)."""

import hashlib

import coincurve

#: H as SEC1 compressed: hashed out of a label, so that no party can know its logarithm.
H = bytes.fromhex("026a50462acb45cc8a54b2fce6bea0dc727c1b5b1ce9e69daab583fa03c7d43323")


def derive_generator() -> bytes:
    """The point with even y and x = SHA256("ndd-fe/1 generator" || byte i) for the first i that is an x of the curve."""
    for i in range(256):
        point33 = b"\x02" + hashlib.sha256(b"ndd-fe/1 generator" + bytes([i])).digest()
        try:
            return coincurve.PublicKey(point33).format()
        except ValueError:
            continue
    raise AssertionError("256 hashes in a row on no point")


if derive_generator() != H:
    raise AssertionError("the generator H is not the one of ndd-fe/1: every ciphertext would be unreadable")
