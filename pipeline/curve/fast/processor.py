"""What this processor can do. Asked before any code is made: an unknown instruction ends the process inside LLVM."""

import platform
from functools import lru_cache
from pathlib import Path

from llvmlite import binding
from numba.core import config

from pipeline.errors import Misconfigured

#: What `field_ifma` emits.
_NEEDED = ("avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512ifma")


@lru_cache(maxsize=1)
def features() -> dict[str, bool]:
    """LLVM's names of the features of this processor, or of the one that numba was told to compile for."""
    # numba makes these at run time.
    name, listed = (getattr(config, setting, None) for setting in ("CPU_NAME", "CPU_FEATURES"))
    if name or listed:
        told = (listed or "").split(",")
        return {feature[1:]: feature.startswith("+") for feature in told if feature}
    return dict(binding.get_host_cpu_features())


def name() -> str:
    """The processor as people call it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return f"{line.partition(':')[2].strip()} ({binding.get_host_cpu_name()})"
    except OSError:
        pass
    return f"{platform.processor() or platform.machine()} ({binding.get_host_cpu_name()})"


def description() -> str:
    """The processor and its features, for a cache folder's name."""
    present = ",".join(sorted(name for name, has in features().items() if has))
    return f"{platform.machine()} {binding.get_host_cpu_name()} {present}"


def has_ifma() -> bool:
    """Whether the eight-lane kernel runs here."""
    return platform.machine().lower() in {"x86_64", "amd64"} and all(features().get(name, False) for name in _NEEDED)


def choose(name: str) -> str:
    """`ifma` or `scalar` for a setting of `auto`, `ifma` or `scalar`. Raises Misconfigured for what cannot run here."""
    if name == "auto":
        return "ifma" if has_ifma() else "scalar"
    if name == "ifma" and not has_ifma():
        missing = ", ".join(feature for feature in _NEEDED if not features().get(feature, False))
        raise Misconfigured(
            f"curve kernel 'ifma' needs a processor with AVX-512 IFMA; this one ({binding.get_host_cpu_name()}) lacks "
            f"{missing or 'x86-64'}: set FLFLEET_CURVE_KERNEL=auto or scalar"
        )
    if name not in {"ifma", "scalar"}:
        raise Misconfigured(f"curve kernel is auto, ifma, scalar or reference, not {name!r}: set FLFLEET_CURVE_KERNEL")
    return name
