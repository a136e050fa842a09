"""Fixed powers in the field: 1/x = x^(p-2) and the square root x^((p+1)/4).

p has two long runs of ones, so both exponents share an addition chain (libsecp256k1's): x_n stands for x^(2^n - 1).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from pipeline.curve.fast.cache import Compiler
from pipeline.curve.fast.emission import counted, offset, pointer, routine
from pipeline.curve.fast.field import Builder, Field

#: Values of scratch memory that the powers need.
SCRATCH = 7


@dataclass(frozen=True)
class Powers:
    """Compiled functions of addresses (out, x, scratch of SCRATCH values); out may be x for neither."""

    inverse: Callable[[int, int, int], None]
    root: Callable[[int, int, int], None]
    #: A routine: (out, x, y), out may be either.
    multiply: Any


def make_powers(field: Field, compiler: Compiler) -> Powers:
    """Inverse and root over one field."""
    multiply = routine(f"multiply_{field.name}", 3, partial(_multiply, field))
    squares = routine(f"squares_{field.name}", 3, partial(_squares, field))
    size = field.size

    def ladder(x: int, scratch: int) -> None:
        """Leaves x_2, x_22 and x_223 in the first three values of the scratch memory."""
        x2, x22, x223, x3, work, x44, x88 = (
            scratch,
            scratch + size,
            scratch + 2 * size,
            scratch + 3 * size,
            scratch + 4 * size,
            scratch + 5 * size,
            scratch + 6 * size,
        )
        squares(x2, x, 1)
        multiply(x2, x2, x)
        squares(x3, x2, 1)
        multiply(x3, x3, x)
        squares(work, x3, 3)
        multiply(work, work, x3)  # x_6
        squares(work, work, 3)
        multiply(work, work, x3)  # x_9
        squares(work, work, 2)
        multiply(work, work, x2)  # x_11
        squares(x22, work, 11)
        multiply(x22, x22, work)
        squares(x44, x22, 22)
        multiply(x44, x44, x22)
        squares(x88, x44, 44)
        multiply(x88, x88, x44)
        squares(work, x88, 88)
        multiply(work, work, x88)  # x_176
        squares(work, work, 44)
        multiply(work, work, x44)  # x_220
        squares(work, work, 3)
        multiply(x223, work, x3)

    compiled_ladder = compiler(ladder)

    def inverse(out: int, x: int, scratch: int) -> None:
        compiled_ladder(x, scratch)
        power = scratch + 2 * size
        squares(power, power, 23)
        multiply(power, power, scratch + size)
        squares(power, power, 5)
        multiply(power, power, x)
        squares(power, power, 3)
        multiply(power, power, scratch)
        squares(power, power, 2)
        multiply(out, power, x)

    def root(out: int, x: int, scratch: int) -> None:
        compiled_ladder(x, scratch)
        power = scratch + 2 * size
        squares(power, power, 23)
        multiply(power, power, scratch + size)
        squares(power, power, 6)
        multiply(power, power, scratch)
        squares(out, power, 2)

    return Powers(inverse=compiler(inverse), root=compiler(root), multiply=multiply)


def _multiply(field: Field, builder: Builder, arguments: Sequence[Any]) -> None:
    out, x, y = (pointer(builder, address) for address in arguments)
    field.store(builder, field.multiply(builder, field.load(builder, x), field.load(builder, y)), out)


def _squares(field: Field, builder: Builder, arguments: Sequence[Any]) -> None:
    """(out, x, count): x squared `count` times, in registers."""
    out, x = (pointer(builder, address) for address in arguments[:2])
    initial = field.flatten(field.load(builder, offset(builder, x, 0)))
    with counted(builder, arguments[2], initial) as (current, following):
        following += field.flatten(field.square(builder, field.unflatten(current)))
    field.store(builder, field.unflatten(following), out)
