import pytest

from pipeline.curve.contract import Kernel
from pipeline.curve.reference import ReferenceKernel
from tests.pipeline.curve.contract_suite import KernelContract


class TestReferenceKernel(KernelContract):
    @pytest.fixture(scope="class")
    @classmethod
    def kernel(cls) -> Kernel:
        return ReferenceKernel()
