"""What every kernel must do: one suite, one class per kernel that gives it a `kernel` fixture.

The expected values come from textbook arithmetic below, which shares no line with the kernels.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.curve.arrays import ints_from_words, points_from_xy, words_from_ints, xy_from_points
from pipeline.curve.contract import MAX_VALUE, Kernel, P, Points, Q
from pipeline.curve.generators import H
from pipeline.errors import Malformed

Affine = tuple[int, int] | None
G33 = bytes.fromhex("0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798")


def textbook_add(a: Affine, b: Affine) -> Affine:
    if a is None or b is None:
        return a or b
    (x1, y1), (x2, y2) = a, b
    if x1 == x2 and (y1 + y2) % P == 0:
        return None
    slope = (3 * x1 * x1 * pow(2 * y1, -1, P) if x1 == x2 else (y2 - y1) * pow(x2 - x1, -1, P)) % P
    x3 = (slope * slope - x1 - x2) % P
    return x3, (slope * (x1 - x3) - y1) % P


def textbook_multiply(scalar: int, point: Affine) -> Affine:
    total, scalar = None, scalar % Q
    while scalar:
        if scalar & 1:
            total = textbook_add(total, point)
        point, scalar = textbook_add(point, point), scalar >> 1
    return total


def textbook_sum(points: Sequence[Affine]) -> Affine:
    total: Affine = None
    for point in points:
        total = textbook_add(total, point)
    return total


def textbook_decompress(point33: bytes) -> Affine:
    x = int.from_bytes(point33[1:], "big")
    y = pow(x**3 + 7, (P + 1) // 4, P)
    assert y * y % P == (x**3 + 7) % P
    return x, y if y % 2 == point33[0] - 2 else P - y


G_POINT, H_POINT = textbook_decompress(G33), textbook_decompress(H)


def negative(point: Affine) -> Affine:
    return None if point is None else (point[0], P - point[1])


def array_of(points: Sequence[Affine]) -> Points:
    return points_from_xy(
        b"".join(bytes(64) if p is None else p[0].to_bytes(32, "big") + p[1].to_bytes(32, "big") for p in points)
    )


def affine_of(points: Points) -> list[Affine]:
    raw = xy_from_points(points)
    rows = [
        (int.from_bytes(raw[i : i + 32], "big"), int.from_bytes(raw[i + 32 : i + 64], "big"))
        for i in range(0, len(raw), 64)
    ]
    return [row if row != (0, 0) else None for row in rows]


def point33_of(point: Affine) -> bytes:
    assert point is not None
    return bytes([2 + point[1] % 2]) + point[0].to_bytes(32, "big")


def values_of(values: Sequence[int]) -> "np.ndarray[Any, np.dtype[np.int64]]":
    return np.array(values, dtype=np.int64)


#: A few points that meet each other in additions: small multiples of g and H, their opposites, infinity.
FEW: list[Affine] = [None]
for _base in (G_POINT, H_POINT):
    for _factor in (1, 2, 3, 5):
        _point = textbook_multiply(_factor, _base)
        FEW += [_point, negative(_point)]

edge_scalars = st.sampled_from([0, 1, 2, 3, 5, Q - 1, Q - 2, Q - 3, Q // 2, Q // 2 + 1, 2**128, 2**255 - 1])
scalars = st.one_of(edge_scalars, st.integers(0, Q - 1))
values = st.one_of(
    st.sampled_from([0, 1, -1, 2, -2, 3, MAX_VALUE, -MAX_VALUE, 2**32, -(2**32), 2**20, -(2**20) - 1]),
    st.integers(-1000, 1000),
    st.integers(-MAX_VALUE, MAX_VALUE),
)
weights = st.one_of(st.sampled_from([0, 1, 2, 2**64, 2**128 - 1]), st.integers(0, 2**128 - 1))
few_points = st.sampled_from(FEW)


def examples(count: int) -> Callable[[Any], Any]:
    # Each kernel's class runs the inherited tests with its own fixture: that is the point of a contract suite.
    return settings(
        max_examples=count, deadline=None, suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow]
    )


class KernelContract:
    """Subclass it and override `kernel`."""

    @pytest.fixture(scope="class")
    @classmethod
    def kernel(cls) -> Kernel:
        raise NotImplementedError("a suite of one kernel overrides this fixture")

    # Scalars

    def test_the_name_is_a_short_text(self, kernel: Kernel) -> None:
        assert kernel.name.isidentifier()

    @examples(50)
    @given(
        numbers=st.lists(
            st.one_of(st.sampled_from([0, Q - 1, Q, Q + 1, 2**256 - 1]), st.integers(0, 2**256 - 1)), max_size=20
        )
    )
    def test_reduce_reads_big_endian_words_mod_q(self, kernel: Kernel, numbers: list[int]) -> None:
        words = kernel.reduce(b"".join(number.to_bytes(32, "big") for number in numbers))
        assert words.dtype == np.uint64
        assert words.shape == (len(numbers), 4)
        assert ints_from_words(words) == [number % Q for number in numbers]

    @examples(50)
    @given(rows=st.lists(st.lists(scalars, min_size=3, max_size=3), max_size=10), terms=st.integers(1, 3))
    def test_add_scalars_adds_mod_q(self, kernel: Kernel, rows: list[list[int]], terms: int) -> None:
        arrays = [words_from_ints([row[i] for row in rows], 4) for i in range(terms)]
        assert ints_from_words(kernel.add_scalars(arrays)) == [sum(row[:terms]) % Q for row in rows]

    @examples(50)
    @given(pairs=st.lists(st.tuples(weights, scalars), max_size=20))
    def test_dot_is_the_weighted_sum_mod_q(self, kernel: Kernel, pairs: list[tuple[int, int]]) -> None:
        found = kernel.dot(words_from_ints([w for w, _ in pairs], 2), words_from_ints([s for _, s in pairs], 4))
        assert found == sum(w * s for w, s in pairs) % Q

    @examples(50)
    @given(pairs=st.lists(st.tuples(weights, values), max_size=20))
    def test_dot_values_takes_values_of_both_signs(self, kernel: Kernel, pairs: list[tuple[int, int]]) -> None:
        found = kernel.dot_values(words_from_ints([w for w, _ in pairs], 2), values_of([v for _, v in pairs]))
        assert found == sum(w * v for w, v in pairs) % Q

    # Encryption

    @examples(25)
    @given(pairs=st.lists(st.tuples(scalars, values), min_size=1, max_size=4), factor=st.sampled_from([1, 2, 7, Q - 1]))
    def test_encrypt_is_masks_times_base_plus_values_times_h(
        self, kernel: Kernel, pairs: list[tuple[int, int]], factor: int
    ) -> None:
        base = textbook_multiply(factor, G_POINT)
        points = kernel.encrypt(
            point33_of(base), words_from_ints([m for m, _ in pairs], 4), values_of([v for _, v in pairs])
        )
        assert points.dtype == np.uint64
        assert affine_of(points) == [
            textbook_add(textbook_multiply(m, base), textbook_multiply(v, H_POINT)) for m, v in pairs
        ]

    @examples(25)
    @given(pairs=st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=1, max_size=8))
    def test_encrypt_where_mask_and_value_meet_in_an_addition(
        self, kernel: Kernel, pairs: list[tuple[int, int]]
    ) -> None:
        # With base = H the two products are equal, opposite or infinite.
        points = kernel.encrypt(H, words_from_ints([m % Q for m, _ in pairs], 4), values_of([v for _, v in pairs]))
        assert affine_of(points) == [textbook_multiply(m + v, H_POINT) for m, v in pairs]

    def test_encrypt_takes_values_up_to_2_to_the_40_and_no_further(self, kernel: Kernel) -> None:
        zero = words_from_ints([0], 4)
        for value in (MAX_VALUE, -MAX_VALUE):
            assert affine_of(kernel.encrypt(G33, zero, values_of([value]))) == [textbook_multiply(value, H_POINT)]
        for value in (MAX_VALUE + 1, -MAX_VALUE - 1, -(2**63), 2**63 - 1):
            with pytest.raises(ValueError):
                kernel.encrypt(G33, zero, values_of([value]))

    def test_encrypt_of_many_does_not_depend_on_the_neighbours(self, kernel: Kernel) -> None:
        random = np.random.default_rng(7)
        count = 67
        masks = random.integers(0, 2**63, (count, 4)).astype(np.uint64)
        masks[::5] = 0
        numbers = random.integers(-(2**22), 2**22, count)
        numbers[::3] = 0
        together = kernel.encrypt(G33, masks, numbers)
        alone = [kernel.encrypt(G33, masks[i : i + 1], numbers[i : i + 1]) for i in range(count)]
        assert (together == np.concatenate(alone)).all()

    # points32

    @examples(25)
    @given(points=st.lists(few_points.filter(lambda point: point is not None), max_size=20))
    def test_points32_round_trip(self, kernel: Kernel, points: list[Affine]) -> None:
        data = kernel.write_points32(array_of(points))
        assert len(data) == 32 * len(points) + (len(points) + 7) // 8
        for i, point in enumerate(points):
            assert point is not None
            assert data[32 * i : 32 * i + 32] == point[0].to_bytes(32, "big")
            assert (data[32 * len(points) + i // 8] >> i % 8) & 1 == point[1] % 2
        assert affine_of(kernel.read_points32(data, len(points))) == points

    def test_infinity_is_never_written(self, kernel: Kernel) -> None:
        with pytest.raises(Malformed, match="infinity"):
            kernel.write_points32(array_of([G_POINT, None]))

    @pytest.mark.parametrize("x", [5, P, P + 1, 2**256 - 1, 0], ids=["on no point", "p", "p + 1", "2^256 - 1", "0"])
    @pytest.mark.parametrize("index", [0, 1, 8])
    def test_a_bad_x_is_refused_and_its_index_named(self, kernel: Kernel, x: int, index: int) -> None:
        data = bytearray(kernel.write_points32(array_of([G_POINT] * 9)))
        data[32 * index : 32 * index + 32] = x.to_bytes(32, "big")
        with pytest.raises(Malformed, match=rf"index {index}\b"):
            kernel.read_points32(bytes(data), 9)

    @pytest.mark.parametrize("count", [0, 1, 8, 9])
    @pytest.mark.parametrize("change", [-1, 1, 32])
    def test_points32_of_another_length_is_refused(self, kernel: Kernel, count: int, change: int) -> None:
        data = kernel.write_points32(array_of([G_POINT] * count))
        other = data[:change] if change < 0 else data + bytes(change)
        if other != data:
            with pytest.raises(Malformed):
                kernel.read_points32(other, count)

    @pytest.mark.parametrize("bit", [1, 7])
    def test_a_spare_bit_is_refused(self, kernel: Kernel, bit: int) -> None:
        data = bytearray(kernel.write_points32(array_of([G_POINT] * 9)))
        data[-1] |= 1 << bit
        with pytest.raises(Malformed, match="spare bits"):
            kernel.read_points32(bytes(data), 9)

    # Sums

    @examples(25)
    @given(pairs=st.lists(st.tuples(few_points, weights), max_size=5))
    def test_weighted_sum(self, kernel: Kernel, pairs: list[tuple[Affine, int]]) -> None:
        found = kernel.weighted_sum(array_of([p for p, _ in pairs]), words_from_ints([w for _, w in pairs], 2))
        assert found.shape == (1, 8)
        assert affine_of(found) == [textbook_sum([textbook_multiply(w, p) for p, w in pairs])]

    @examples(25)
    @given(points=st.lists(few_points, max_size=40), weight=st.sampled_from([1, 2, 2**128 - 1]))
    def test_weighted_sum_of_points_that_meet(self, kernel: Kernel, points: list[Affine], weight: int) -> None:
        found = kernel.weighted_sum(array_of(points), words_from_ints([weight] * len(points), 2))
        assert affine_of(found) == [textbook_multiply(weight, textbook_sum(points))]

    @examples(25)
    @given(
        rows=st.lists(st.tuples(st.lists(few_points, min_size=4, max_size=4), edge_scalars), max_size=4),
        count=st.integers(1, 4),
    )
    def test_unmask_with_hostile_points(self, kernel: Kernel, rows: list[tuple[list[Affine], int]], count: int) -> None:
        submissions = [array_of([points[i] for points, _ in rows]) for i in range(count)]
        found = kernel.unmask(submissions, G33, words_from_ints([mask for _, mask in rows], 4))
        assert affine_of(found) == [
            textbook_sum([*points[:count], negative(textbook_multiply(mask, G_POINT))]) for points, mask in rows
        ]

    def test_unmask_takes_masks_away_again(self, kernel: Kernel) -> None:
        random = np.random.default_rng(11)
        masks = random.integers(0, 2**63, (3, 9, 4)).astype(np.uint64)
        numbers = random.integers(-100, 100, (3, 9))
        submissions = [kernel.encrypt(G33, masks[i], numbers[i]) for i in range(3)]
        bare = kernel.unmask(submissions, G33, kernel.add_scalars(list(masks)))
        assert affine_of(bare) == [textbook_multiply(int(total), H_POINT) for total in numbers.sum(axis=0)]

    # Logarithms

    @examples(25)
    @given(numbers=st.lists(st.integers(-70_000, 70_000), max_size=6), bound=st.sampled_from([0, 1, 1000, 65_536]))
    def test_logarithms_finds_exactly_what_is_in_bounds(self, kernel: Kernel, numbers: list[int], bound: int) -> None:
        points = array_of([textbook_multiply(number, H_POINT) for number in numbers])
        found_values, found = kernel.logarithms(points, bound)
        assert found_values.dtype == np.int64
        assert found.dtype == np.bool_
        assert found.tolist() == [abs(number) <= bound for number in numbers]
        assert found_values.tolist() == [number if abs(number) <= bound else 0 for number in numbers]

    def test_logarithms_at_every_small_value_and_around_the_bound(self, kernel: Kernel) -> None:
        bound = 2**22
        near = range(-70, 71)
        edges = [sign * (bound + off) for sign in (1, -1) for off in (-2, -1, 0, 1, 2)]
        powers = [sign * (2**e + off) for sign in (1, -1) for e in range(8, 22) for off in (-1, 0, 1)]
        numbers = [*near, *edges, *powers]
        zero = words_from_ints([0] * len(numbers), 4)
        found_values, found = kernel.logarithms(kernel.encrypt(G33, zero, values_of(numbers)), bound)
        assert found.tolist() == [abs(number) <= bound for number in numbers]
        assert found_values[found].tolist() == [number for number in numbers if abs(number) <= bound]

    def test_points_with_no_small_logarithm_are_not_found_and_cost_no_neighbour(self, kernel: Kernel) -> None:
        points = [G_POINT, textbook_multiply(17, H_POINT), negative(G_POINT), None, textbook_multiply(-3, H_POINT)]
        found_values, found = kernel.logarithms(array_of(points), 5000)
        assert found.tolist() == [False, True, False, True, True]
        assert found_values.tolist() == [0, 17, 0, 0, -3]

    # Nothing to do

    def test_empty_arrays_give_empty_answers(self, kernel: Kernel) -> None:
        scalars0, weights0 = words_from_ints([], 4), words_from_ints([], 2)
        values0, points0 = values_of([]), array_of([])
        assert kernel.reduce(b"").shape == (0, 4)
        assert kernel.add_scalars([scalars0, scalars0]).shape == (0, 4)
        assert kernel.dot(weights0, scalars0) == 0
        assert kernel.dot_values(weights0, values0) == 0
        assert kernel.encrypt(G33, scalars0, values0).shape == (0, 8)
        assert kernel.read_points32(b"", 0).shape == (0, 8)
        assert kernel.write_points32(points0) == b""
        assert affine_of(kernel.weighted_sum(points0, weights0)) == [None]
        assert kernel.unmask([points0, points0], G33, scalars0).shape == (0, 8)
        found_values, found = kernel.logarithms(points0, 100)
        assert found_values.shape == found.shape == (0,)
