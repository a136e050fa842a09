from pathlib import Path

import pytest

from pipeline.curve.fast import processor
from pipeline.curve.select import KERNELS, kernel, warmup
from pipeline.errors import Misconfigured

HERE = [name for name in KERNELS if name != "ifma" or processor.has_ifma()]


def test_auto_is_the_best_kernel_that_this_processor_can_run():
    assert kernel().name == kernel("auto").name == HERE[0]


@pytest.mark.parametrize("name", HERE)
def test_a_kernel_is_made_once_so_that_its_tables_are_kept(name):
    assert kernel(name) is kernel(name)
    assert kernel(name).name == name


def test_an_unknown_name_lists_those_that_there_are():
    with pytest.raises(Misconfigured, match=r"'fast'.*auto, .*reference.*FLFLEET_CURVE_KERNEL"):
        kernel("fast")


def test_warmup_leaves_compiled_code_and_the_table_of_logarithms(tmp_path):
    report = warmup(tmp_path, "scalar")
    assert report["kernel"] == "scalar"
    assert report["bytes"] == sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file()) > 2**26
    assert list(tmp_path.glob("kernels-*/shared/*.nbc"))
    assert list(tmp_path.glob("babies-*.bin"))


def test_warmup_says_where_it_cannot_write(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Misconfigured, match="FLFLEET_CACHE_DIR"):
        warmup(tmp_path / "file" / "cache")
