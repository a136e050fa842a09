"""What batch arithmetic needs of a field implementation: emitters of LLVM IR for the prime p = 2^256 - 2^32 - 977.

A *value* is `lanes` field elements side by side: whatever structure of LLVM values the implementation likes. A value from
`multiply`, `square`, `subtract` or `load` is *reduced*: right modulo p, and small enough to be an operand again, but not unique;
`canonical` makes it unique. In memory a value takes `size` bytes in the implementation's own layout; points in arrays are 64-byte
entries (`contract.Points`), which `gather` and `scatter` translate.
"""

from abc import ABC, abstractmethod
from typing import Any, TypeAlias

from llvmlite import ir

from pipeline.curve.fast.emission import I1, I32, I64, offset

#: 2^256 mod p.
FOLD = 2**32 + 977
#: Bytes of a point in an array.
ENTRY = 64

Builder: TypeAlias = ir.IRBuilder
Value: TypeAlias = Any


class Field(ABC):
    """Field arithmetic over `lanes` elements at once."""

    #: Also part of the names of emitted functions.
    name: str
    lanes: int
    #: Bytes of a value in memory.
    size: int

    @property
    def parts(self) -> "list[Field]":
        """The fields of which an interleaved one is made, in order of memory; itself where it is not interleaved."""
        return [self]

    @abstractmethod
    def load(self, builder: Builder, address: Any) -> Value:
        """Reads a value."""

    @abstractmethod
    def store(self, builder: Builder, value: Value, address: Any) -> None:
        """Writes a value."""

    @abstractmethod
    def constant(self, number: int) -> Value:
        """The same number in every lane."""

    @abstractmethod
    def flatten(self, value: Value) -> list[Any]:
        """The LLVM values of which a value is made, for a loop's registers."""

    @abstractmethod
    def unflatten(self, values: list[Any]) -> Value:
        """The inverse of `flatten`."""

    @abstractmethod
    def multiply(self, builder: Builder, x: Value, y: Value) -> Value:
        """x * y."""

    @abstractmethod
    def square(self, builder: Builder, x: Value) -> Value:
        """x * x."""

    @abstractmethod
    def subtract(self, builder: Builder, x: Value, y: Value) -> Value:
        """x - y; y may be a gathered ordinate."""

    @abstractmethod
    def difference(self, builder: Builder, x: Value, y: Value) -> Value:
        """x - y only as a factor and as the run of `abscissa` and `doubtful`; x or y may be a gathered ordinate."""

    def fence(self, builder: Builder, value: Value) -> Value:
        """The value; the compiler neither moves what is behind to before it, nor what is before to behind."""
        return value

    @abstractmethod
    def abscissa(self, builder: Builder, slope: Value, x: Value, run: Value) -> Value:
        """slope^2 - 2x - run: the sum's x, with run = x' - x."""

    @abstractmethod
    def ordinate(self, builder: Builder, slope: Value, back: Value, y: Value) -> Value:
        """slope * back - y: the sum's y, with back = x - (the sum's x)."""

    @abstractmethod
    def canonical(self, builder: Builder, x: Value) -> Value:
        """The representative below p."""

    @abstractmethod
    def suspicious(self, builder: Builder, x: Value) -> Any:
        """An i1: false where surely no lane is zero. Cheap, and seldom true otherwise."""

    @property
    def quiet(self) -> Any:
        """No doubts."""
        return ir.Constant(I1, 0)

    def doubts(self, builder: Builder, run: Value, x: Value, other_x: Value) -> Any:
        """What to look at with `doubtful`, or first to unite with others; run is the difference of a gathered other_x and x."""
        either = builder.or_(self.suspicious(builder, x), self.suspicious(builder, other_x))
        return builder.or_(self.suspicious(builder, run), either)

    def doubtful(self, builder: Builder, doubts: Any) -> Any:
        """An i1: false where surely nothing is zero in any lane."""
        return doubts

    @abstractmethod
    def is_zero(self, builder: Builder, x: Value) -> Any:
        """A mask of the lanes that are zero modulo p."""

    @abstractmethod
    def parity_differs(self, builder: Builder, x: Value, y: Value) -> Any:
        """A mask of the lanes where canonical x and y differ in the lowest bit."""

    @abstractmethod
    def choose(self, builder: Builder, mask: Any, x: Value, y: Value) -> Value:
        """x in the lanes of the mask, y elsewhere."""

    @abstractmethod
    def gather(self, builder: Builder, table: Any, indices: Any) -> tuple[Value, Value]:
        """Reads the points table[index >> 1], y negated where index & 1, for `lanes` int32 indices.

        x is canonical; y may only be an operand of `subtract` and of `difference`.
        """

    @abstractmethod
    def scatter(self, builder: Builder, x: Value, y: Value, address: Any) -> None:
        """Writes `lanes` consecutive canonical points."""

    def entry(self, builder: Builder, table: Any, index: Any) -> Any:
        """The pointer to the table's entry of an int32 index."""
        number = builder.zext(builder.lshr(index, ir.Constant(I32, 1)), I64)
        return offset(builder, table, builder.shl(number, ir.Constant(I64, 6)))

    def lane_entry(self, builder: Builder, table: Any, indices: Any, lane: int) -> Any:
        """The pointer to the table's entry for one lane."""
        return self.entry(builder, table, builder.load(offset(builder, indices, 4 * lane), typ=I32, align=4))
