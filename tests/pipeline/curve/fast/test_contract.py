"""The batch kernels under the suite that every kernel passes."""

from pathlib import Path

import pytest

from pipeline.curve.contract import Kernel
from pipeline.curve.fast import processor
from pipeline.curve.fast.kernel import BatchKernel
from tests.pipeline.curve.contract_suite import KernelContract


class TestScalarKernel(KernelContract):
    @pytest.fixture(scope="class")
    @classmethod
    def kernel(cls, cache_dir: Path) -> Kernel:
        return BatchKernel("scalar", cache_dir)


@pytest.mark.skipif(not processor.has_ifma(), reason="the processor has no AVX-512 IFMA")
class TestIfmaKernel(KernelContract):
    @pytest.fixture(scope="class")
    @classmethod
    def kernel(cls, cache_dir: Path) -> Kernel:
        return BatchKernel("ifma", cache_dir)
