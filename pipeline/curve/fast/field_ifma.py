"""The field on AVX-512 IFMA: eight elements, five 52-bit limbs each, limb i of all eight in one 512-bit register.

IFMA multiplies the low 52 bits of 64-bit lanes and adds the low or high 52 bits of the product to a 64-bit accumulator. The twelve
spare bits of an accumulator take all the sums of a product, so that carries move once, at the end; and a subtraction on either
side of a product costs nothing, as the accumulators' first contents.

Reduced: limbs 0 to 3 below 2^52, the value below 2^256 + 2^213. Subtractions add a multiple of p limb by limb, so that no limb
goes below zero: limbs of 2p exceed any reduced limb.
"""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from pipeline.curve.contract import P
from pipeline.curve.fast.emission import I1, I8, I32, I64, external, offset
from pipeline.curve.fast.field import ENTRY, FOLD, Builder, Field

LANES = 8
LIMBS = 5
LIMB = 52
#: Bits of the highest limb below 2^256.
TOP = 256 - LIMB * (LIMBS - 1)
VECTOR = ir.VectorType(I64, LANES)
INDICES = ir.VectorType(I32, LANES)


class IfmaField(Field):
    """Eight elements; a value is a list of five <8 x i64>."""

    name = "ifma"
    lanes = LANES
    size = LIMBS * LANES * 8

    def load(self, builder: Builder, address: Any) -> list[Any]:
        return [builder.load(offset(builder, address, 64 * i), typ=VECTOR, align=64) for i in range(LIMBS)]

    def store(self, builder: Builder, value: Sequence[Any], address: Any) -> None:
        for i, limb in enumerate(value):
            builder.store(limb, offset(builder, address, 64 * i), align=64)

    def constant(self, number: int) -> list[Any]:
        return [_all(limb) for limb in _limbs(number)]

    def flatten(self, value: list[Any]) -> list[Any]:
        return value

    def unflatten(self, values: list[Any]) -> list[Any]:
        return values

    def multiply(self, builder: Builder, x: list[Any], y: list[Any]) -> list[Any]:
        return _reduce(builder, _product(builder, x, y, [_all(0)] * LIMBS))

    def square(self, builder: Builder, x: list[Any]) -> list[Any]:
        return _reduce(builder, _square(builder, x, [_all(0)] * LIMBS))

    def subtract(self, builder: Builder, x: list[Any], y: list[Any]) -> list[Any]:
        return _normal(
            builder, [builder.add(x[i], builder.sub(_all(limb), y[i])) for i, limb in enumerate(_limbs(P, 2))]
        )

    def difference(self, builder: Builder, x: list[Any], y: list[Any]) -> list[Any]:
        # 4p as 2^258 less a little: limbs may be negative until they are carried.
        limbs = [builder.sub(a, b) for a, b in zip(x, y, strict=True)]
        limbs[0] = builder.sub(limbs[0], _all(4 * FOLD))
        limbs[4] = builder.add(limbs[4], _all(4 << TOP))
        return _carried(builder, limbs)

    def fence(self, builder: Builder, value: list[Any]) -> list[Any]:
        kinds = [VECTOR] * LIMBS
        function = ir.FunctionType(ir.LiteralStructType(kinds), kinds)
        result = builder.call(ir.InlineAsm(function, "", "=v,=v,=v,=v,=v,0,1,2,3,4", side_effect=True), value)
        return [builder.extract_value(result, i) for i in range(LIMBS)]

    def abscissa(self, builder: Builder, slope: list[Any], x: list[Any], run: list[Any]) -> list[Any]:
        taken = [builder.add(builder.add(a, a), b) for a, b in zip(x, run, strict=True)]
        start = [builder.sub(_all(limb), taken[i]) for i, limb in enumerate(_limbs(P, 8))]
        return _reduce(builder, _square(builder, slope, start))

    def ordinate(self, builder: Builder, slope: list[Any], back: list[Any], y: list[Any]) -> list[Any]:
        start = [builder.sub(_all(limb), y[i]) for i, limb in enumerate(_limbs(P, 4))]
        return _reduce(builder, _product(builder, slope, back, start))

    def canonical(self, builder: Builder, x: list[Any]) -> list[Any]:
        # x >= p exactly when x + FOLD reaches 2^256.
        x = _normal(builder, x)
        raised = _carried(builder, [builder.add(x[0], _all(FOLD)), *x[1:]])
        reaches = builder.icmp_unsigned("!=", builder.lshr(raised[4], _all(TOP)), _all(0))
        raised[4] = builder.and_(raised[4], _all(2**TOP - 1))
        return self.choose(builder, reaches, raised, x)

    def suspicious(self, builder: Builder, x: list[Any]) -> Any:
        return self.doubtful(builder, _united(builder, [_alarm(builder, x, times) for times in range(2)]))

    @property
    def quiet(self) -> Any:
        return _all(0)

    def doubts(self, builder: Builder, run: list[Any], x: list[Any], other_x: list[Any]) -> Any:
        # A run lies between 2p and 5p, without the ends. Zero is no other multiple of p than these.
        zeros = [(run, 3), (run, 4), (x, 0), (x, 1), (other_x, 0)]
        return _united(builder, [_alarm(builder, value, times) for value, times in zeros])

    def doubtful(self, builder: Builder, doubts: Any) -> Any:
        # Comparisons share the multiplier's pipes, so there is one for all doubts.
        lanes = builder.icmp_signed("<", doubts, _all(0))
        return builder.icmp_unsigned("!=", builder.bitcast(lanes, I8), ir.Constant(I8, 0))

    def is_zero(self, builder: Builder, x: list[Any]) -> Any:
        union = _all(0)
        for limb in self.canonical(builder, x):
            union = builder.or_(union, limb)
        return builder.icmp_unsigned("==", union, _all(0))

    def parity_differs(self, builder: Builder, x: list[Any], y: list[Any]) -> Any:
        return builder.trunc(builder.xor(x[0], y[0]), ir.VectorType(I1, LANES))

    def choose(self, builder: Builder, mask: Any, x: list[Any], y: list[Any]) -> list[Any]:
        return [builder.select(mask, a, b) for a, b in zip(x, y, strict=True)]

    def gather(self, builder: Builder, table: Any, indices: Any) -> tuple[list[Any], list[Any]]:
        index = builder.load(indices, typ=INDICES, align=4)
        # Arrays of points may come from anywhere, so only 8-byte alignment is sure.
        rows = [
            builder.load(self.lane_entry(builder, table, indices, lane), typ=VECTOR, align=8) for lane in range(LANES)
        ]
        words = _transpose(builder, rows)
        x, y = _limbs_of_words(builder, words[:4]), _limbs_of_words(builder, words[4:])
        negative = builder.trunc(index, ir.VectorType(I1, LANES))
        return x, self.choose(builder, negative, [builder.sub(_all(0), limb) for limb in y], y)

    def scatter(self, builder: Builder, x: list[Any], y: list[Any], address: Any) -> None:
        words = [
            *_words_of_limbs(builder, self.canonical(builder, x)),
            *_words_of_limbs(builder, self.canonical(builder, y)),
        ]
        for lane, row in enumerate(_transpose(builder, words)):
            builder.store(row, offset(builder, address, ENTRY * lane), align=8)


def _alarm(builder: Builder, x: list[Any], times: int) -> Any:
    """Negative in the lanes whose lowest limb is that of `times` p: nearly never where x is another number."""
    return builder.sub(builder.xor(x[0], _all(times * P % 2**LIMB)), _all(1))


def _united(builder: Builder, doubts: list[Any]) -> Any:
    union = doubts[0]
    for doubt in doubts[1:]:
        union = builder.or_(union, doubt)
    return union


def _all(number: int) -> Any:
    return ir.Constant(VECTOR, [number] * LANES)


def _limbs(number: int, factor: int = 1) -> list[int]:
    """The limbs of a number, each times `factor`."""
    return [factor * ((number >> (LIMB * i)) & (2**LIMB - 1)) for i in range(LIMBS)]


def _low(builder: Builder, total: Any, x: Any, y: Any) -> Any:
    return builder.call(external(builder, "llvm.x86.avx512.vpmadd52l.uq.512", VECTOR, [VECTOR] * 3), [total, x, y])


def _high(builder: Builder, total: Any, x: Any, y: Any) -> Any:
    return builder.call(external(builder, "llvm.x86.avx512.vpmadd52h.uq.512", VECTOR, [VECTOR] * 3), [total, x, y])


def _product(builder: Builder, x: list[Any], y: list[Any], start: list[Any]) -> list[Any]:
    """start + x * y in ten uncarried limbs."""
    total = [*start, *[_all(0)] * LIMBS]
    for i in range(LIMBS):
        for j in range(LIMBS):
            total[i + j] = _low(builder, total[i + j], x[i], y[j])
        for j in range(LIMBS):
            total[i + j + 1] = _high(builder, total[i + j + 1], x[i], y[j])
    return total


def _square(builder: Builder, x: list[Any], start: list[Any]) -> list[Any]:
    """start + x * x: each mixed product once, and the sums of those doubled (a doubled limb would not fit an operand)."""
    mixed = [_all(0)] * (2 * LIMBS)
    for i in range(LIMBS):
        for j in range(i + 1, LIMBS):
            mixed[i + j] = _low(builder, mixed[i + j], x[i], x[j])
            mixed[i + j + 1] = _high(builder, mixed[i + j + 1], x[i], x[j])
    total = [builder.add(limb, limb) for limb in mixed]
    total[:LIMBS] = [builder.add(limb, first) for limb, first in zip(total, start, strict=False)]
    for i in range(LIMBS):
        total[2 * i] = _low(builder, total[2 * i], x[i], x[i])
        total[2 * i + 1] = _high(builder, total[2 * i + 1], x[i], x[i])
    return total


def _reduce(builder: Builder, total: list[Any]) -> list[Any]:
    """Ten uncarried limbs to a reduced value: 2^260 = 16 FOLD (mod p), then what is left above bit 256."""
    total = list(total)
    for i in range(LIMBS, 2 * LIMBS - 1):
        # The low 52 bits need no mask: IFMA looks at no others.
        total[i + 1] = builder.add(total[i + 1], builder.lshr(total[i], _all(LIMB)))
    fold = _all(16 * FOLD)
    low = total[:LIMBS]
    for i in range(LIMBS):
        low[i] = _low(builder, low[i], total[LIMBS + i], fold)
    for i in range(LIMBS - 1):
        low[i + 1] = _high(builder, low[i + 1], total[LIMBS + i], fold)
    beyond = _high(builder, _all(0), total[2 * LIMBS - 1], fold)
    above = builder.add(builder.lshr(low[4], _all(TOP)), builder.shl(beyond, _all(LIMB - TOP)))
    low[4] = builder.and_(low[4], _all(2**TOP - 1))
    low[0] = _low(builder, low[0], above, _all(FOLD))
    low[1] = _high(builder, low[1], above, _all(FOLD))
    return _carried(builder, low)


def _normal(builder: Builder, limbs: list[Any]) -> list[Any]:
    """Limbs of a sum to a reduced value."""
    above = builder.lshr(limbs[4], _all(TOP))
    top = builder.and_(limbs[4], _all(2**TOP - 1))
    return _carried(builder, [_low(builder, limbs[0], above, _all(FOLD)), *limbs[1:4], top])


def _carried(builder: Builder, limbs: list[Any]) -> list[Any]:
    limbs = list(limbs)
    for i in range(LIMBS - 1):
        limbs[i + 1] = builder.add(limbs[i + 1], builder.ashr(limbs[i], _all(LIMB)))
        limbs[i] = builder.and_(limbs[i], _all(2**LIMB - 1))
    return limbs


def _limbs_of_words(builder: Builder, words: list[Any]) -> list[Any]:
    limbs = [words[0]]
    for i in range(1, LIMBS - 1):
        kept = 64 * i - LIMB * i
        limbs.append(builder.or_(builder.lshr(words[i - 1], _all(64 - kept)), builder.shl(words[i], _all(kept))))
    limbs = [builder.and_(limb, _all(2**LIMB - 1)) for limb in limbs]
    return [*limbs, builder.lshr(words[3], _all(64 - TOP))]


def _words_of_limbs(builder: Builder, limbs: list[Any]) -> list[Any]:
    words = []
    for i in range(4):
        used = 12 * i
        low = builder.lshr(limbs[i], _all(used)) if used else limbs[i]
        words.append(builder.or_(low, builder.shl(limbs[i + 1], _all(LIMB - used))))
    return words


def _transpose(builder: Builder, rows: list[Any]) -> list[Any]:
    """An 8 x 8 matrix of words: entries to columns and back. Three rounds of exchanges, of 1, 2 and 4 neighbours."""
    for distance in (1, 2, 4):
        low = [i if not i & distance else LANES + i - distance for i in range(LANES)]
        high = [i + distance if not i & distance else LANES + i for i in range(LANES)]
        following: list[Any] = [None] * LANES
        for i in range(LANES):
            if not i & distance:
                following[i] = _shuffle(builder, rows[i], rows[i + distance], low)
                following[i + distance] = _shuffle(builder, rows[i], rows[i + distance], high)
        rows = following
    return rows


def _shuffle(builder: Builder, x: Any, y: Any, order: list[int]) -> Any:
    return builder.shuffle_vector(x, y, ir.Constant(INDICES, order))
