from itertools import islice

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.curve.affine import STRIP, add_to_all, invert_all, multiples
from pipeline.curve.contract import P
from tests.pipeline.curve.contract_suite import FEW, H_POINT, textbook_add, textbook_multiply


@given(st.lists(st.integers(1, P - 1), max_size=20))
def test_one_inversion_gives_all_inverses(values):
    assert all(value * inverse % P == 1 for value, inverse in zip(values, invert_all(values), strict=True))


@settings(deadline=None)
@given(points=st.lists(st.sampled_from(FEW), max_size=12), addend=st.sampled_from(FEW))
def test_one_addend_to_all_points_equal_opposite_and_infinite_ones_included(points, addend):
    assert add_to_all(points, addend) == [textbook_add(point, addend) for point in points]


def test_multiples_go_on_over_the_strips_and_through_the_doubling_at_their_seam():
    first, second, third = islice(multiples(H_POINT), 3)
    flat = first + second + third
    for factor in (1, 2, 3, STRIP - 1, STRIP, STRIP + 1, 2 * STRIP, 2 * STRIP + 1, 3 * STRIP):
        assert flat[factor - 1] == textbook_multiply(factor, H_POINT)
