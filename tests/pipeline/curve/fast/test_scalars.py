import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.curve.contract import Q
from pipeline.curve.fast.kernel import BatchKernel

words = st.one_of(st.sampled_from([0, 1, Q - 1, Q, Q + 1, 2**256 - 1, 2**128]), st.integers(0, 2**256 - 1))
scalars = st.one_of(st.sampled_from([0, 1, Q - 1, Q // 2]), st.integers(0, Q - 1))
weights = st.one_of(st.sampled_from([0, 1, 2**64, 2**128 - 1]), st.integers(0, 2**128 - 1))
values = st.one_of(st.sampled_from([0, 1, -1, 2**63 - 1, -(2**63)]), st.integers(-(2**63), 2**63 - 1))


def array(numbers: list[int], size: int = 32) -> np.ndarray:
    raw = b"".join(number.to_bytes(size, "little") for number in numbers)
    return np.frombuffer(raw, np.uint64).reshape(-1, size // 8)


def numbers(arrays: np.ndarray) -> list[int]:
    return [int.from_bytes(row.tobytes(), "little") for row in arrays]


@given(drawn=st.lists(words, max_size=20))
@settings(deadline=None)
def test_words_are_reduced_once(kernel: BatchKernel, drawn: list[int]) -> None:
    stream = b"".join(word.to_bytes(32, "big") for word in drawn)
    assert numbers(kernel.reduce(stream)) == [word % Q for word in drawn]


def test_half_a_word_is_refused(kernel: BatchKernel) -> None:
    with pytest.raises(ValueError, match="multiple of 32"):
        kernel.reduce(bytes(33))


@given(
    rows=st.integers(0, 5).flatmap(
        lambda n: st.lists(st.lists(scalars, min_size=n, max_size=n), min_size=1, max_size=5)
    )
)
@settings(deadline=None)
def test_sums_are_modulo_q(kernel: BatchKernel, rows: list[list[int]]) -> None:
    total = kernel.add_scalars([array(row) for row in rows])
    assert numbers(total) == [sum(column) % Q for column in zip(*rows, strict=True)]


def test_hundreds_of_largest_terms_do_not_overflow(kernel: BatchKernel) -> None:
    term = array([Q - 1] * 600)
    assert numbers(kernel.add_scalars([term] * 400)) == [400 * (Q - 1) % Q] * 600


def test_terms_of_other_shapes_are_refused(kernel: BatchKernel) -> None:
    with pytest.raises(ValueError, match="one shape"):
        kernel.add_scalars([array([1]), array([1, 2])])
    with pytest.raises(ValueError, match="at least one"):
        kernel.add_scalars([])


@given(pairs=st.lists(st.tuples(weights, scalars, values), max_size=12))
@settings(deadline=None)
def test_dot_products_are_exact(kernel: BatchKernel, pairs: list[tuple[int, int, int]]) -> None:
    rho = array([pair[0] for pair in pairs], 16)
    assert kernel.dot(rho, array([pair[1] for pair in pairs])) == sum(w * s for w, s, _ in pairs) % Q
    numbers64 = np.array([pair[2] for pair in pairs], np.int64)
    assert kernel.dot_values(rho, numbers64) == sum(w * v for w, _, v in pairs) % Q


def test_arrays_that_are_views_are_read_right(kernel: BatchKernel) -> None:
    every = array(list(range(20)))
    assert numbers(kernel.add_scalars([every[::2]])) == list(range(0, 20, 2))
    assert kernel.dot(array([1] * 10, 16), every[::2]) == sum(range(0, 20, 2))


def test_unequal_lengths_are_refused(kernel: BatchKernel) -> None:
    with pytest.raises(ValueError, match="as many weights"):
        kernel.dot(array([1], 16), array([1, 2]))
