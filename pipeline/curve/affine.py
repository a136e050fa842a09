"""Many affine additions at once, in Python integers: one inversion for a whole batch (Montgomery's trick).

A point is (x, y); None is infinity. Equal, opposite and infinite operands are each their own case, so hostile points cost
themselves and no neighbour.
"""

from collections.abc import Sequence

from pipeline.curve.contract import P

Point = tuple[int, int] | None


def add_pairs(left: Sequence[Point], right: Sequence[Point]) -> list[Point]:
    """left[i] + right[i] for each i: 3 multiplications of the shared inversion and 3 of its own an addition."""
    denominators = [_denominator(a, b) for a, b in zip(left, right, strict=True)]
    inverses = inverted(denominators)
    return [_sum(a, b, inverse) for a, b, inverse in zip(left, right, inverses, strict=True)]


def negated(point: Point) -> Point:
    """-P."""
    return None if point is None else (point[0], P - point[1])


def inverted(values: Sequence[int]) -> list[int]:
    """1/v mod p for each value, which must not be 0."""
    prefixes = [1]
    for value in values:
        prefixes.append(prefixes[-1] * value % P)
    running = pow(prefixes[-1], -1, P)
    inverses = [0] * len(values)
    for index in range(len(values) - 1, -1, -1):
        inverses[index] = running * prefixes[index] % P
        running = running * values[index] % P
    return inverses


def _denominator(a: Point, b: Point) -> int:
    if a is None or b is None:
        return 1
    if a[0] != b[0]:
        return b[0] - a[0]
    return 2 * a[1] if a[1] == b[1] else 1


def _sum(a: Point, b: Point, inverse: int) -> Point:
    if a is None:
        return b
    if b is None:
        return a
    if a[0] != b[0]:
        slope = (b[1] - a[1]) * inverse % P
    elif a[1] == b[1]:
        slope = 3 * a[0] * a[0] * inverse % P
    else:
        return None
    x = (slope * slope - a[0] - b[0]) % P
    return x, (slope * (a[0] - x) - a[1]) % P
