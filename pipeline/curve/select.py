"""Which kernel a process uses."""

from collections.abc import Callable
from functools import lru_cache

from pipeline.curve.contract import Kernel
from pipeline.curve.reference import ReferenceKernel
from pipeline.errors import Misconfigured

#: Name to maker, the best one first.
KERNELS: dict[str, Callable[[], Kernel]] = {"reference": ReferenceKernel}


@lru_cache(maxsize=len(KERNELS) + 1)
def kernel(name: str = "auto") -> Kernel:
    """The kernel of that name, made once a process (its tables are kept); `auto` is the best there is. Raises Misconfigured."""
    if name == "auto":
        return kernel(next(iter(KERNELS)))
    if name not in KERNELS:
        raise Misconfigured(f"curve_kernel is {name!r}, expected auto, {', '.join(KERNELS)} (FLFLEET_CURVE_KERNEL)")
    return KERNELS[name]()
