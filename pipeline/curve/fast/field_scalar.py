"""The field on any processor: one 256-bit integer in four 64-bit words, reduced below 2^256.

LLVM turns its wide integers into chains of add-with-carry; only products need care, since it would expand a 256-bit product
badly: they are built row by row of 64 x 64 -> 128.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir

from pipeline.curve.contract import P
from pipeline.curve.fast.emission import I1, I32, I64, I128, offset
from pipeline.curve.fast.field import FOLD, Builder, Field

I256, I320 = ir.IntType(256), ir.IntType(320)


class ScalarField(Field):
    """One element; a value is an i256."""

    name = "scalar"
    lanes = 1
    size = 32

    def load(self, builder: Builder, address: Any) -> Any:
        return builder.load(address, typ=I256, align=8)

    def store(self, builder: Builder, value: Any, address: Any) -> None:
        builder.store(value, address, align=8)

    def constant(self, number: int) -> Any:
        return ir.Constant(I256, number)

    def flatten(self, value: Any) -> list[Any]:
        return [value]

    def unflatten(self, values: list[Any]) -> Any:
        return values[0]

    def multiply(self, builder: Builder, x: Any, y: Any) -> Any:
        # Schoolbook rows; after each row the lowest word is final.
        words = _words(builder, x, 4)
        rows = _words(builder, y, 4)
        total = _row(builder, words, rows[0])
        low = [builder.trunc(total, I64)]
        for row in rows[1:]:
            total = builder.add(builder.lshr(total, ir.Constant(I320, 64)), _row(builder, words, row))
            low.append(builder.trunc(total, I64))
        high = _words(builder, total, 5)[1:]
        # 2^256 = FOLD (mod p): fold the high half, then the 34 bits that are left, then a last carry.
        total = builder.add(_join(builder, low), _row(builder, high, ir.Constant(I64, FOLD)))
        rest = builder.zext(_top(builder, total), I128)
        total = builder.add(
            builder.zext(builder.trunc(total, I256), I320),
            builder.zext(builder.mul(rest, ir.Constant(I128, FOLD)), I320),
        )
        low256 = builder.trunc(total, I256)
        return _rarely(builder, _top(builder, total), low256, lambda: builder.add(low256, ir.Constant(I256, FOLD)))

    def square(self, builder: Builder, x: Any) -> Any:
        return self.multiply(builder, x, x)

    def subtract(self, builder: Builder, x: Any, y: Any) -> Any:
        # A borrow of 2^256 is a borrow of FOLD; taking that away may borrow once more.
        difference = builder.zext(x, I320)
        difference = builder.sub(difference, builder.zext(y, I320))
        borrow = builder.and_(_top(builder, difference), ir.Constant(I64, FOLD))
        difference = builder.sub(builder.zext(builder.trunc(difference, I256), I320), builder.zext(borrow, I320))
        low = builder.trunc(difference, I256)
        return _rarely(builder, _top(builder, difference), low, lambda: builder.sub(low, ir.Constant(I256, FOLD)))

    def difference(self, builder: Builder, x: Any, y: Any) -> Any:
        return self.subtract(builder, x, y)

    def abscissa(self, builder: Builder, slope: Any, x: Any, run: Any) -> Any:
        square = self.square(builder, slope)
        once = self.subtract(builder, self.subtract(builder, square, x), x)
        return self.subtract(builder, once, run)

    def ordinate(self, builder: Builder, slope: Any, back: Any, y: Any) -> Any:
        return self.subtract(builder, self.multiply(builder, slope, back), y)

    def canonical(self, builder: Builder, x: Any) -> Any:
        prime = ir.Constant(I256, P)
        return builder.select(builder.icmp_unsigned(">=", x, prime), builder.sub(x, prime), x)

    def suspicious(self, builder: Builder, x: Any) -> Any:
        word = builder.trunc(x, I64)
        zero = builder.icmp_unsigned("==", word, ir.Constant(I64, 0))
        return builder.or_(zero, builder.icmp_unsigned("==", word, ir.Constant(I64, P % 2**64)))

    def is_zero(self, builder: Builder, x: Any) -> Any:
        return builder.icmp_unsigned("==", self.canonical(builder, x), ir.Constant(I256, 0))

    def parity_differs(self, builder: Builder, x: Any, y: Any) -> Any:
        return builder.trunc(builder.xor(x, y), I1)

    def choose(self, builder: Builder, mask: Any, x: Any, y: Any) -> Any:
        return builder.select(mask, x, y)

    def gather(self, builder: Builder, table: Any, indices: Any) -> tuple[Any, Any]:
        index = builder.load(indices, typ=I32, align=4)
        entry = self.entry(builder, table, index)
        x = builder.load(entry, typ=I256, align=8)
        y = builder.load(offset(builder, entry, 32), typ=I256, align=8)
        negated = builder.sub(ir.Constant(I256, P), y)
        return x, builder.select(builder.trunc(index, I1), negated, y)

    def scatter(self, builder: Builder, x: Any, y: Any, address: Any) -> None:
        builder.store(self.canonical(builder, x), address, align=8)
        builder.store(self.canonical(builder, y), offset(builder, address, 32), align=8)


def _rarely(builder: Builder, condition: Any, value: Any, otherwise: Callable[[], Any]) -> Any:
    """The value, or `otherwise` where the word `condition` is not zero: a branch that is never taken costs nothing to wait for."""
    before = builder.block
    with builder.if_then(builder.icmp_unsigned("!=", condition, ir.Constant(I64, 0)), likely=False):
        other = otherwise()
        inside = builder.block
    phi = builder.phi(value.type)
    phi.add_incoming(value, before)
    phi.add_incoming(other, inside)
    return phi


def _words(builder: Builder, value: Any, count: int) -> list[Any]:
    shifts = [ir.Constant(value.type, 64 * i) for i in range(count)]
    return [builder.trunc(builder.lshr(value, shift), I64) for shift in shifts]


def _join(builder: Builder, words: list[Any]) -> Any:
    total = builder.zext(words[0], I320)
    for i, word in enumerate(words[1:], 1):
        total = builder.or_(total, builder.shl(builder.zext(word, I320), ir.Constant(I320, 64 * i)))
    return total


def _row(builder: Builder, words: list[Any], factor: Any) -> Any:
    """Four words times one word, as an i320."""
    factor = builder.zext(factor, I128)
    products = [builder.mul(builder.zext(word, I128), factor) for word in words]
    low = _join(builder, [builder.trunc(product, I64) for product in products])
    high = _join(builder, [builder.trunc(builder.lshr(product, ir.Constant(I128, 64)), I64) for product in products])
    return builder.add(low, builder.shl(high, ir.Constant(I320, 64)))


def _top(builder: Builder, value: Any) -> Any:
    """Bits 256 to 319."""
    return builder.trunc(builder.lshr(value, ir.Constant(I320, 256)), I64)
