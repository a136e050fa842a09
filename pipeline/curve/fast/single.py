"""Single points as Python integers: the seeds of tables. Not constant-time and slow; points in bulk go through the kernels."""

from pipeline.curve.contract import P, Points, Q
from pipeline.curve.fast.memory import empty_points
from pipeline.errors import Malformed

#: None is infinity.
Point = tuple[int, int] | None


def add(a: Point, b: Point) -> Point:
    """a + b."""
    if a is None or b is None:
        return a or b
    if a[0] != b[0]:
        slope = (b[1] - a[1]) * pow(b[0] - a[0], -1, P)
    elif a[1] != b[1]:
        return None
    else:
        slope = 3 * a[0] * a[0] * pow(2 * a[1], -1, P)
    x = (slope * slope - a[0] - b[0]) % P
    return x, (slope * (a[0] - x) - a[1]) % P


def negative(a: Point) -> Point:
    """-a."""
    return None if a is None else (a[0], P - a[1])


def multiply(k: int, a: Point) -> Point:
    """k * a, k of either sign."""
    if k < 0:
        k, a = -k, negative(a)
    k %= Q
    return horner([a if k >> i & 1 else None for i in range(k.bit_length())])


def doublings(a: Point, count: int) -> list[Point]:
    """a, 2a, 4a, ...: `count` of them. One inversion for all: the points are doubled in Jacobian coordinates."""
    if a is None:
        return [None] * count
    x, y, z = a[0], a[1], 1
    jacobian = []
    for _ in range(count):
        jacobian.append((x, y, z))
        x, y, z = _double(x, y, z)
    before = [1]
    for *_, z in jacobian:
        before.append(before[-1] * z % P)
    inverse = pow(before[-1], -1, P)
    points: list[Point] = []
    for (x, y, z), product in zip(reversed(jacobian), reversed(before[:-1]), strict=True):
        own = inverse * product % P
        inverse = inverse * z % P
        points.append((x * own * own % P, y * own * own * own % P))
    return points[::-1]


def horner(bits: list[Point]) -> Point:
    """sum of 2^i * bits[i], in Jacobian coordinates with one inversion at the end."""
    x, y, z = 1, 1, 0
    for point in reversed(bits):
        x, y, z = _double(x, y, z)
        if point is not None:
            x, y, z = _add(x, y, z, point)
    if z == 0:
        return None
    inverse = pow(z, -1, P)
    return x * inverse * inverse % P, y * inverse**3 % P


def _double(x: int, y: int, z: int) -> tuple[int, int, int]:
    yy = y * y % P
    s = 4 * x * yy % P
    m = 3 * x * x % P
    doubled = (m * m - 2 * s) % P
    return doubled, (m * (s - doubled) - 8 * yy * yy) % P, 2 * y * z % P


def _add(x: int, y: int, z: int, point: tuple[int, int]) -> tuple[int, int, int]:
    if z == 0:
        return point[0], point[1], 1
    zz = z * z % P
    h = (point[0] * zz - x) % P
    r = (point[1] * zz * z - y) % P
    if h == 0:
        return _double(x, y, z) if r == 0 else (1, 1, 0)
    hh = h * h % P
    v = x * hh % P
    total = (r * r - h * hh - 2 * v) % P
    return total, (r * (v - total) - y * h * hh) % P, z * h % P


def decode(encoded: bytes) -> Point:
    """A point33. Raises Malformed."""
    if len(encoded) != 33 or encoded[0] not in (2, 3):
        raise Malformed(f"a point33 has 33 bytes, the first 02 or 03; got {len(encoded)} bytes, {encoded[:1].hex()}..")
    x = int.from_bytes(encoded[1:], "big")
    y = pow(x**3 + 7, (P + 1) // 4, P)
    if x >= P or (y * y - x**3 - 7) % P:
        raise Malformed("a point33 whose x is on no point of the curve")
    return x, y if y % 2 == encoded[0] % 2 else P - y


def to_points(singles: list[Point]) -> Points:
    """As an array."""
    points = empty_points(len(singles))
    for row, single in zip(points, singles, strict=True):
        x, y = single or (0, 0)
        row[:4] = _words(x)
        row[4:] = _words(y)
    return points


def from_points(points: Points) -> list[Point]:
    """From an array."""
    singles: list[Point] = []
    for row in points:
        x, y = (sum(int(word) << 64 * i for i, word in enumerate(half)) for half in (row[:4], row[4:]))
        singles.append((x, y) if x or y else None)
    return singles


def _words(number: int) -> list[int]:
    return [number >> 64 * i & (2**64 - 1) for i in range(4)]
