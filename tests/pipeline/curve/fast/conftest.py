"""Kernels under test: compiled once, kept in pytest's own cache folder (cold: some 15 s for both, warm: 2 s)."""

from pathlib import Path

import pytest

from pipeline.curve.fast import processor
from pipeline.curve.fast.cache import Compiler
from pipeline.curve.fast.field import Field
from pipeline.curve.fast.kernel import BatchKernel, field_of

needs_ifma = pytest.mark.skipif(not processor.has_ifma(), reason="the processor has no AVX-512 IFMA")
NAMES = ["scalar", pytest.param("ifma", marks=needs_ifma)]


@pytest.fixture(scope="session")
def cache_dir(request: pytest.FixtureRequest) -> Path:
    return Path(request.config.cache.mkdir("curve"))


@pytest.fixture(scope="session", params=NAMES)
def kernel(request: pytest.FixtureRequest, cache_dir: Path) -> BatchKernel:
    return BatchKernel(request.param, cache_dir)


@pytest.fixture(scope="session")
def field(kernel: BatchKernel) -> Field:
    return field_of(kernel.name)


@pytest.fixture(scope="session")
def compiler(kernel: BatchKernel, cache_dir: Path) -> Compiler:
    return Compiler(cache_dir, f"tests-{kernel.name}")
