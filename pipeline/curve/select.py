"""Which kernel this machine uses."""

from functools import lru_cache

from pipeline.curve.contract import Kernel
from pipeline.curve.reference import ReferenceKernel
from pipeline.errors import Misconfigured

NAMES = ("auto", "reference")


@lru_cache(maxsize=4)
def kernel(name: str = "auto") -> Kernel:
    """The kernel of a name, made once a process; `auto` is the best that this machine has. Raises Misconfigured."""
    if name not in NAMES:
        raise Misconfigured(f"FLFLEET_CURVE_KERNEL is {name!r}; it must be one of {', '.join(NAMES)}")
    return ReferenceKernel()
