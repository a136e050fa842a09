from pathlib import Path

import numpy as np
import pytest

from pipeline.curve.fast.babies import Babies
from pipeline.curve.fast.kernel import GENERATOR, BatchKernel
from pipeline.curve.fast.logarithm import Logarithms
from pipeline.curve.fast.single import multiply, to_points

BABIES = 64
STEP = 2 * BABIES + 1


@pytest.fixture(scope="module")
def logarithms(kernel: BatchKernel, tmp_path_factory: pytest.TempPathFactory) -> Logarithms:
    """A search with a table so small that giants are met soon."""
    adder, compiler = kernel._adder, kernel._shared_compiler
    babies = Babies(adder, compiler, GENERATOR, tmp_path_factory.mktemp("babies"), BABIES)
    return Logarithms(kernel._field, kernel._compiler, adder, kernel._recoding, kernel._pool, GENERATOR, babies)


def test_every_value_up_to_the_bound_is_found(logarithms: Logarithms) -> None:
    values = np.arange(-700, 701)
    found_values, found = logarithms(to_points([multiply(int(v), GENERATOR) for v in values]), 700)
    assert found.all()
    assert (found_values == values).all()


@pytest.mark.parametrize("bound", [0, 1, BABIES, BABIES + 1, STEP, 3 * STEP + 5])
def test_values_beyond_the_bound_are_not_found(logarithms: Logarithms, bound: int) -> None:
    values = [0, bound, -bound, bound + 1, -bound - 1]
    found_values, found = logarithms(to_points([multiply(v, GENERATOR) for v in values]), bound)
    assert found.tolist() == [True, True, True, False, False]
    assert found_values.tolist() == [0, bound, -bound, 0, 0]


def test_a_point_that_is_a_giant_is_met_exactly(logarithms: Logarithms) -> None:
    values = [STEP, -STEP, 7 * STEP, -7 * STEP]
    found_values, found = logarithms(to_points([multiply(v, GENERATOR) for v in values]), 8 * STEP)
    assert found.all()
    assert found_values.tolist() == values


def test_points_that_are_no_small_multiple_spoil_nobody(logarithms: Logarithms) -> None:
    values = [1000, 2**200, -999, 0]
    points = to_points([multiply(v, GENERATOR) for v in values])
    found_values, found = logarithms(points, 1024)
    assert found.tolist() == [True, False, True, True]
    assert found_values.tolist() == [1000, 0, -999, 0]


def test_a_table_that_lies_is_not_believed(logarithms: Logarithms, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = np.where(logarithms._babies.slots != 0, logarithms._babies.slots ^ np.uint64(1), np.uint64(0))
    monkeypatch.setattr(logarithms._babies, "slots", wrong)
    values, found = logarithms(to_points([multiply(5, GENERATOR)]), BABIES)
    assert not found.any()
    assert not values.any()


def test_no_points_have_no_logarithms(logarithms: Logarithms) -> None:
    values, found = logarithms(to_points([]), 5)
    assert values.shape == found.shape == (0,)


def test_a_bound_beyond_the_protocol_is_refused(logarithms: Logarithms) -> None:
    with pytest.raises(ValueError, match=r"2\^40"):
        logarithms(to_points([None]), 2**40 + 1)


def test_forty_bits_with_the_real_table(kernel: BatchKernel) -> None:
    values = np.array([2**40, -(2**40), 2**22, 2**22 + 1, -(2**23) - 1, 12_345_678_901])
    found_values, found = kernel.logarithms(to_points([multiply(int(v), GENERATOR) for v in values]), 2**40)
    assert found.all()
    assert (found_values == values).all()


class TestTable:
    def make(self, kernel: BatchKernel, folder: Path | None) -> Babies:
        return Babies(kernel._adder, kernel._shared_compiler, GENERATOR, folder, BABIES)

    def test_is_mapped_from_disk_the_second_time(self, kernel: BatchKernel, tmp_path: Path) -> None:
        first = self.make(kernel, tmp_path)
        (file,) = tmp_path.iterdir()
        made = file.stat().st_mtime_ns
        second = self.make(kernel, tmp_path)
        assert (first.slots == second.slots).all()
        assert [path.stat().st_mtime_ns for path in tmp_path.iterdir()] == [made]

    def test_half_a_file_is_made_again(self, kernel: BatchKernel, tmp_path: Path) -> None:
        whole = self.make(kernel, tmp_path).slots.copy()
        (file,) = tmp_path.iterdir()
        file.write_bytes(file.read_bytes()[:100])
        assert (self.make(kernel, tmp_path).slots == whole).all()
        assert file.stat().st_size == whole.nbytes

    def test_without_a_folder_it_stays_in_memory(self, kernel: BatchKernel) -> None:
        assert np.count_nonzero(self.make(kernel, None).slots) == BABIES

    def test_a_folder_that_cannot_be_made_is_done_without(self, kernel: BatchKernel, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        assert np.count_nonzero(self.make(kernel, tmp_path / "file" / "cache").slots) == BABIES
