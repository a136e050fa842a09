import pytest

from pipeline.curve.select import KERNELS, kernel
from pipeline.errors import Misconfigured


def test_auto_is_the_best_kernel_there_is():
    assert kernel().name == kernel("auto").name == next(iter(KERNELS))


@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_is_made_once_so_that_its_tables_are_kept(name):
    assert kernel(name) is kernel(name)
    assert kernel(name).name == name


def test_an_unknown_name_lists_those_that_there_are():
    with pytest.raises(Misconfigured, match=r"'fast'.*auto, .*reference.*FLFLEET_CURVE_KERNEL"):
        kernel("fast")
