import coincurve
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.curve.contract import Q
from pipeline.curve.fast.single import (
    Point,
    add,
    decode,
    doublings,
    from_points,
    horner,
    multiply,
    negative,
    to_points,
)
from pipeline.errors import Malformed

G = decode(coincurve.PrivateKey.from_int(1).public_key.format())


@given(k=st.integers(1, Q - 1))
def test_multiples_agree_with_libsecp256k1(k: int) -> None:
    assert multiply(k, G) == coincurve.PrivateKey.from_int(k).public_key.point()


def test_additions_are_complete() -> None:
    assert G is not None
    assert add(G, negative(G)) is None
    assert add(G, G) == multiply(2, G)
    assert add(None, G) == add(G, None) == G
    assert add(None, None) is None
    assert multiply(Q, G) is None


def test_doublings_are_powers_of_two() -> None:
    assert doublings(G, 9) == [multiply(2**i, G) for i in range(9)]
    assert doublings(None, 2) == [None, None]


@given(ks=st.lists(st.sampled_from([0, 1, 2, 3, Q - 1, Q - 2]), max_size=6))
def test_horner_meets_every_case_of_addition(ks: list[int]) -> None:
    bits: list[Point] = [multiply(k, G) for k in ks]
    assert horner(bits) == multiply(sum(k << i for i, k in enumerate(ks)), G)


def test_arrays_hold_points_and_infinity() -> None:
    singles = [G, None, multiply(5, G)]
    assert from_points(to_points(singles)) == singles


@pytest.mark.parametrize(
    "encoded", [b"", b"\x04" + bytes(32), b"\x02" + b"\xff" * 32, b"\x02" + (5).to_bytes(32, "big")]
)
def test_what_is_no_point33_is_refused(encoded: bytes) -> None:
    with pytest.raises(Malformed):
        decode(encoded)
