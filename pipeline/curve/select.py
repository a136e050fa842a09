"""Which kernel a process uses."""

from functools import lru_cache
from pathlib import Path

from pipeline.curve.contract import Kernel
from pipeline.curve.reference import ReferenceKernel
from pipeline.errors import Misconfigured

#: Every name, the best one first; `auto` is the first that this processor can run.
KERNELS = ("ifma", "scalar", "reference")


@lru_cache(maxsize=8)
def kernel(name: str = "auto", cache_dir: Path | None = None, threads: int = 1) -> Kernel:
    """The kernel of that name, made once a process (its tables are kept). Raises Misconfigured for what cannot run here.

    `cache_dir` (`Settings.cache`) keeps compiled code and the table of logarithms for all workers; without it each process makes
    them again. `threads` work on one call, in the process that calls.
    """
    if name == "reference":
        return ReferenceKernel()
    if name != "auto" and name not in KERNELS:
        raise Misconfigured(f"curve_kernel is {name!r}, expected auto, {', '.join(KERNELS)} (FLFLEET_CURVE_KERNEL)")
    # numba takes a second to import: only for those who compute.
    from pipeline.curve.fast.kernel import BatchKernel

    return BatchKernel(name, cache_dir, threads)


def kernel_name(setting: str) -> str:
    """What a setting's kernel is called, without making it. Raises Misconfigured for what cannot run here."""
    if setting == "reference":
        return setting
    from pipeline.curve.fast.processor import choose

    return choose(setting)


def warmup(cache_dir: Path, name: str = "auto") -> dict[str, str | int | float]:
    """Compiles the kernel and makes the table of logarithms in `cache_dir`, for images and deploys.

    Returns `kernel`, `folder`, `seconds` and `bytes` (of the whole folder). Raises Misconfigured where the folder cannot be written.
    """
    from pipeline.curve.fast.warmup import warmup as warm

    return warm(cache_dir, name)
