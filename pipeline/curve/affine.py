"""Affine arithmetic on Python ints, many additions to one shared inversion (Montgomery's trick).

An addition costs about eight multiplications of 0.2 us; one call of libsecp256k1 an addition costs several times that.
"""

from collections.abc import Iterator, Sequence

from pipeline.curve.contract import P

#: (x, y), or None for infinity.
Point = tuple[int, int] | None
#: Points of one strip: long enough to make the shared inversion cheap, short enough to stay in the cache.
STRIP = 1024


def invert_all(values: Sequence[int]) -> list[int]:
    """The inverses mod p of values that are not zero."""
    prefixes, product = [], 1
    for value in values:
        prefixes.append(product)
        product = product * value % P
    inverse = pow(product, -1, P)
    inverses = [0] * len(values)
    for i in range(len(values) - 1, -1, -1):
        inverses[i] = prefixes[i] * inverse % P
        inverse = inverse * values[i] % P
    return inverses


def add_to_all(points: Sequence[Point], addend: Point) -> list[Point]:
    """points[i] + addend for each i; equal, opposite and infinite operands included."""
    if addend is None:
        return list(points)
    x, y = addend
    inverses = invert_all([_denominator(point, x, y) for point in points])
    return [_sum(point, x, y, inverse) for point, inverse in zip(points, inverses, strict=True)]


def multiples(base: Point) -> Iterator[list[Point]]:
    """base, 2*base, 3*base, ... in strips of `STRIP`, without end."""
    strip: list[Point] = [base]
    while len(strip) < STRIP:
        strip += add_to_all(strip, strip[-1])
    offset: Point = None
    while True:
        yield add_to_all(strip, offset)
        offset = add_to_all([strip[-1]], offset)[0]


def _denominator(point: Point, x: int, y: int) -> int:
    """What the slope of point + (x, y) divides by; 1 where the sum needs no slope."""
    if point is None or (point[0] == x and point[1] != y):
        return 1
    return 2 * y if point[0] == x else x - point[0]


def _sum(point: Point, x: int, y: int, inverse: int) -> Point:
    if point is None:
        return (x, y)
    x1, y1 = point
    if x1 != x:
        slope = (y - y1) * inverse % P
    elif y1 == y:
        slope = 3 * x * x * inverse % P
    else:
        return None
    x3 = (slope * slope - x1 - x) % P
    return (x3, (slope * (x1 - x3) - y1) % P)
