import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.curve.contract import Q
from pipeline.curve.fast.digits import Windows, ones
from pipeline.curve.fast.kernel import BatchKernel
from pipeline.curve.fast.tables import PLANS

scalars = st.one_of(st.sampled_from([0, 1, 2, Q - 1, Q // 2, 2**255]), st.integers(0, Q - 1))


@pytest.mark.parametrize("width", range(4, 21))
def test_windows_cover_256_bits_exactly(width: int) -> None:
    windows = Windows.of(width)
    assert windows.first + (windows.count - 1) * windows.width == 256
    assert 0 < windows.first <= windows.width + 1


@settings(max_examples=60, deadline=None)
@given(numbers=st.lists(scalars, min_size=1, max_size=5), width=st.integers(4, 17), negate=st.booleans())
def test_all_odd_digits_add_up_to_the_mask(kernel: BatchKernel, numbers: list[int], width: int, negate: bool) -> None:
    windows = Windows.of(width)
    masks = np.frombuffer(b"".join(k.to_bytes(32, "little") for k in numbers), np.uint64).reshape(-1, 4)
    indices = np.empty((windows.count, len(numbers)), np.int32)
    kernel._recoding.masks(masks, int(negate), ones(windows), windows.first, width, windows.count, indices)
    assert indices.min() >= 0
    assert (indices[1:] >> 1).max(initial=0) < 2 ** (width - 1)
    for number, column in zip(numbers, indices.T.tolist(), strict=True):
        total = 2 * (column[0] >> 1) - (2**windows.first - 1)
        for i, index in enumerate(column[1:]):
            odd = 2 * (index >> 1) + 1
            total += (-odd if index & 1 else odd) << (windows.first + i * width)
        assert total % Q == (-number if negate else number) % Q


@pytest.mark.parametrize("plan", PLANS)
def test_value_windows_add_up_to_the_value(kernel: BatchKernel, plan: object) -> None:
    limit = plan.limit
    values = np.array([0, 1, -1, limit, -limit, limit // 3, -limit // 7], np.int64)
    indices = np.empty((plan.windows, len(values)), np.int32)
    kernel._recoding.values(values, plan.bias, plan.bits, plan.windows, 0, indices)
    contents = (indices >> 1).astype(np.int64)
    assert contents.max() < 2**plan.bits
    total = sum((contents[i] - 2 ** (plan.bits - 1)) << (plan.bits * i) for i in range(plan.windows))
    assert (total == values).all()


def test_the_longest_plan_takes_every_value_of_the_protocol() -> None:
    assert PLANS[-1].limit >= 2**40
