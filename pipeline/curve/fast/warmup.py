"""Makes ahead what a worker would make at its first job."""

import time
from pathlib import Path

import numpy as np

from pipeline.curve.fast.kernel import BatchKernel
from pipeline.curve.generators import H
from pipeline.errors import Misconfigured


def warmup(cache_dir: Path, name: str = "auto") -> dict[str, str | int | float]:
    """One small call of everything that the contract has. See `pipeline.curve.select.warmup`."""
    started = time.perf_counter()
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        probe = cache_dir / f".writable-{time.monotonic_ns()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise Misconfigured(
            f"the cache folder {cache_dir} cannot be written ({error}): set FLFLEET_CACHE_DIR"
        ) from None
    kernel = BatchKernel(name, cache_dir)
    masks = kernel.add_scalars([kernel.reduce(bytes(31) + b"\x01")])
    weights = np.array([[1, 0]], np.uint64)
    values = np.array([2**24], np.int64)
    kernel.dot(weights, masks)
    kernel.dot_values(weights, values)
    points = kernel.encrypt(H, masks, values)
    points = kernel.read_points32(kernel.write_points32(points), 1)
    kernel.weighted_sum(points, weights)
    _, found = kernel.logarithms(kernel.unmask([points], H, masks), 2**24)
    if not found.all():
        raise AssertionError(f"the {kernel.name} kernel computes wrongly on this processor")
    size = sum(file.stat().st_size for file in cache_dir.rglob("*") if file.is_file())
    return {
        "kernel": kernel.name,
        "folder": str(cache_dir),
        "seconds": round(time.perf_counter() - started, 3),
        "bytes": size,
    }
