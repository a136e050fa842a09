"""Compiled code on disk: found again by other processes, never stale, never in the way."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.curve.fast import cache, processor

PROGRAM = """
import sys
from pathlib import Path
from pipeline.curve.fast.kernel import BatchKernel
kernel = BatchKernel("scalar", Path(sys.argv[1]))
assert kernel.reduce(bytes(31) + b"\\x05").tolist() == [[5, 0, 0, 0]]
"""


def start(folder: Path, **environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(cache.__file__).parents[3]), **environment},
    )


def output(process: "subprocess.Popen[str]") -> str:
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 0, text
    return text


def test_two_workers_without_a_home_fill_one_folder_and_a_third_finds_it_warm(tmp_path: Path) -> None:
    both = [start(tmp_path), start(tmp_path)]
    assert "compiling curve kernel" in "".join([output(process) for process in both])
    assert "compiling" not in output(start(tmp_path))
    assert not list(tmp_path.rglob("*.tmp.*"))


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert "cannot be written" in output(start(tmp_path / "file" / "cache"))


def test_a_torn_file_is_compiled_again(tmp_path: Path) -> None:
    output(start(tmp_path))
    for file in tmp_path.rglob("*.nb?"):
        file.write_bytes(file.read_bytes()[:50])
    assert "unreadable" in output(start(tmp_path))
    assert "compiling" not in output(start(tmp_path))


def test_an_edit_of_any_source_gets_a_folder_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    before = cache.digest.__wrapped__()
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read(path) + (b"#" if path.name == "digits.py" else b""))
    assert cache.digest.__wrapped__() != before


def test_another_processor_gets_a_folder_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    before = cache.digest.__wrapped__()
    monkeypatch.setattr("pipeline.curve.fast.processor.description", lambda: "another")
    assert cache.digest.__wrapped__() != before


ROUND_TRIP = """
import sys
from pathlib import Path
import numpy as np
from pipeline.curve.arrays import point_from_point33
from pipeline.curve.fast.kernel import BatchKernel
from pipeline.curve.generators import H
points = np.repeat(point_from_point33(H), 20, axis=0)
for name in sys.argv[2:]:
    kernel = BatchKernel(name, Path(sys.argv[1]))
    assert np.array_equal(kernel.read_points32(kernel.write_points32(points), 20), points), name
"""


@pytest.mark.skipif(not processor.has_ifma(), reason="this processor has no AVX-512 IFMA")
def test_two_kernels_compiled_by_two_workers_are_told_apart_by_a_third(tmp_path: Path) -> None:
    # numba numbers its symbols anew in every process: without the kernel's name in them, the third worker called the
    # square root of the other field.
    for kernels in (["ifma"], ["scalar"], ["ifma", "scalar"], ["scalar", "ifma"]):
        subprocess.run(
            [sys.executable, "-c", ROUND_TRIP, str(tmp_path), *kernels],
            check=True,
            timeout=60,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(cache.__file__).parents[3])},
        )
