"""Field arithmetic at its edges: limbs all ones, values at and beyond p, and the largest that count as reduced."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.curve.contract import P
from pipeline.curve.fast.cache import Compiler
from pipeline.curve.fast.emission import pointer, routine
from pipeline.curve.fast.field import Field
from pipeline.curve.fast.field_ifma import LANES, LIMB, LIMBS
from pipeline.curve.fast.memory import aligned

EDGES = [0, 1, 2, 7, P - 1, P, P + 1, 2**256 - 1, 2**52 - 1, 2**208 - 1, 2**255, 2**256 - 2**208 - 1, P // 2]

OPERATIONS: dict[str, Callable[[int, int], int]] = {
    "multiply": lambda x, y: x * y,
    "square": lambda x, y: x * x,
    "subtract": lambda x, y: x - y,
    "abscissa": lambda x, y: x * x - 2 * y - x,
    "ordinate": lambda x, y: x * y - x,
}


class Memory:
    """Three values of a field in memory, written and read as integers."""

    def __init__(self, field: Field) -> None:
        self.part = field.parts[0]
        self.lanes = field.lanes
        self.words = aligned(3 * field.size).view(np.uint64)
        self.each = field.size // 8

    @property
    def largest(self) -> int:
        return 2**256 + 2**212 if self.part.name == "ifma" else 2**256 - 1

    def write(self, slot: int, numbers: Sequence[int]) -> None:
        for lane, number in enumerate(numbers):
            for word, position in self._places(slot, lane):
                mask = 2**LIMB - 1 if self.part.name == "ifma" else 2**64 - 1
                # A reduced value's bits beyond 256 are in the top limb.
                top = self.part.name == "ifma" and position == LIMB * (LIMBS - 1)
                self.words[word] = (number >> position) & (2**64 - 1 if top else mask)

    def read(self, slot: int) -> list[int]:
        return [
            sum(int(self.words[word]) << position for word, position in self._places(slot, lane))
            for lane in range(self.lanes)
        ]

    def _places(self, slot: int, lane: int) -> Iterator[tuple[int, int]]:
        part, inner = divmod(lane, self.part.lanes)
        start = slot * self.each + part * self.part.size // 8
        if self.part.name == "ifma":
            return ((start + LANES * limb + inner, LIMB * limb) for limb in range(LIMBS))
        return ((start + word, 64 * word) for word in range(4))


@pytest.fixture(scope="session")
def operations(field: Field, compiler: Compiler) -> dict[str, Any]:
    """Each operation as a compiled function of the address of (x, y, result)."""

    def compiled(name: str) -> Any:
        def emit(builder: Any, arguments: Sequence[Any]) -> None:
            base = arguments[0]
            x, y = (field.load(builder, pointer(builder, builder.add(base, base.type(i * field.size)))) for i in (0, 1))
            emitters: dict[str, Callable[[], Any]] = {
                "multiply": lambda: field.multiply(builder, x, y),
                "square": lambda: field.square(builder, x),
                "subtract": lambda: field.subtract(builder, x, y),
                "abscissa": lambda: field.abscissa(builder, x, y, x),
                "ordinate": lambda: field.ordinate(builder, x, y, x),
                "canonical": lambda: field.canonical(builder, x),
                "canonical_product": lambda: field.canonical(builder, field.multiply(builder, x, y)),
                "zero": lambda: field.choose(builder, field.is_zero(builder, x), field.constant(1), field.constant(0)),
            }
            out = pointer(builder, builder.add(base, base.type(2 * field.size)))
            if name == "doubtful":
                doubts = field.doubts(builder, field.difference(builder, y, x), x, y)
                doubtful = field.doubtful(builder, builder.or_(field.quiet, doubts))
                builder.store(builder.zext(doubtful, base.type), out)
            else:
                field.store(builder, emitters[name](), out)

        run = routine(f"test_{name}_{field.name}", 1, emit)

        def call(address: int) -> None:
            run(address)

        call.__qualname__ = f"call_{name}"
        return compiler(call)

    return {name: compiled(name) for name in [*OPERATIONS, "canonical", "canonical_product", "zero", "doubtful"]}


def numbers_of(memory: Memory) -> st.SearchStrategy[list[int]]:
    edges = [*EDGES, memory.largest, memory.largest - 1]
    number = st.one_of(st.sampled_from(edges), st.integers(0, memory.largest))
    return st.lists(number, min_size=memory.lanes, max_size=memory.lanes)


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_are_right_modulo_p_and_stay_reduced(field: Field, operations: dict[str, Any], name: str) -> None:
    memory = Memory(field)

    @settings(max_examples=150, deadline=None)
    @given(x=numbers_of(memory), y=numbers_of(memory))
    def check(x: list[int], y: list[int]) -> None:
        memory.write(0, x)
        memory.write(1, y)
        operations[name](memory.words.ctypes.data)
        results = memory.read(2)
        assert [r % P for r in results] == [OPERATIONS[name](a, b) % P for a, b in zip(x, y, strict=True)]
        assert max(results) <= memory.largest

    check()


def test_canonical_is_the_representative_below_p(field: Field, operations: dict[str, Any]) -> None:
    memory = Memory(field)

    @settings(max_examples=150, deadline=None)
    @given(x=numbers_of(memory))
    def check(x: list[int]) -> None:
        memory.write(0, x)
        operations["canonical"](memory.words.ctypes.data)
        assert memory.read(2) == [a % P for a in x]
        operations["zero"](memory.words.ctypes.data)
        assert memory.read(2) == [int(a % P == 0) for a in x]

    check()


def test_products_that_vanish_are_canonically_zero(field: Field, operations: dict[str, Any]) -> None:
    memory = Memory(field)
    memory.write(0, [P] * memory.lanes)
    memory.write(1, [2**256 - 1] * memory.lanes)
    operations["canonical_product"](memory.words.ctypes.data)
    assert memory.read(2) == [0] * memory.lanes


def test_a_point_that_is_met_or_infinite_raises_doubts_in_any_lane(field: Field, operations: dict[str, Any]) -> None:
    memory = Memory(field)

    def doubtful(x: list[int], other_x: list[int]) -> bool:
        memory.write(0, x)
        memory.write(1, other_x)
        operations["doubtful"](memory.words.ctypes.data)
        return bool(memory.words[2 * memory.each])

    xs, others = [5] * memory.lanes, [6] * memory.lanes
    assert not doubtful(xs, others)
    assert not doubtful([P - 1] * memory.lanes, others)
    for lane in range(memory.lanes):
        # x is reduced, so p or more where it is small; the other x is canonical.
        for x, other_x in [(5, 5), (P + 5, 5), (P - 1, P - 1), (0, 6), (P, 6), (5, 0), (P, 0), (0, 0)]:
            assert doubtful([*xs[:lane], x, *xs[lane + 1 :]], [*others[:lane], other_x, *others[lane + 1 :]])
