"""A few operations on single points, by libsecp256k1: SEC1 compressed bytes in and out, None for infinity."""

import coincurve

from pipeline.curve.contract import Points
from pipeline.curve.words import words_to_ints

Point33 = bytes | None


def multiply33(point: Point33, scalar: int) -> Point33:
    """scalar * point for 0 <= scalar < q."""
    if point is None or scalar == 0:
        return None
    return coincurve.PublicKey(point).multiply(scalar.to_bytes(32, "big")).format()


def add33(left: Point33, right: Point33) -> Point33:
    """left + right."""
    if left is None or right is None:
        return right if left is None else left
    if left[1:] == right[1:] and left[0] != right[0]:
        return None
    return coincurve.PublicKey.combine_keys([coincurve.PublicKey(left), coincurve.PublicKey(right)]).format()


def point33_of(points: Points) -> bytes:
    """The one point of a [1, 8] array, which must not be infinity. Raises ValueError."""
    (x,), (y,) = words_to_ints(points[:, :4]), words_to_ints(points[:, 4:])
    if not x and not y:
        raise ValueError("infinity has no encoding")
    return bytes([2 + (y & 1)]) + x.to_bytes(32, "big")
