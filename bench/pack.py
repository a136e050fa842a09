"""The constants of `pipeline/nddfe/pack_choice.py`, measured: microseconds a point of each kernel, on one core.

python -m bench.pack [--cache DIR] [KERNEL ..]
"""

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench import work
from bench.measure import least
from cli.console import log_to_stderr
from pipeline.curve.contract import Kernel, Points
from pipeline.curve.select import kernel
from pipeline.nddfe.pack_choice import COSTS, giant_steps

#: Points of a measurement: the reference kernel makes one call for each.
_POINTS = {"ifma": 200_000, "scalar": 50_000, "reference": 500}
#: Bounds of sums beyond the table, around which the choice falls.
BOUNDS = (2**30, 2**33, 2**35)


def constants(fast: Kernel) -> dict[str, float]:
    """As `pack_choice.Costs` has them, `giant` once for each of `BOUNDS`, then their mean as `giant`."""
    count, babies = _POINTS[fast.name], COSTS[fast.name].babies
    values = work.values(count)
    submissions = [work.encrypt(fast, work.values(count, seed)) for seed in range(work.MINERS)]
    masks = fast.add_scalars([work.mask_sum(fast, count)] * work.MINERS)

    def a_point(seconds: float, points: int = count) -> float:
        return seconds * 1e6 / points

    found = {
        "encrypt": a_point(least(lambda: work.encrypt(fast, values))),
        "verify": a_point(least(lambda: work.verify(fast, submissions[0], count))),
        "unmask": a_point(least(lambda: work.unmask(fast, submissions, count, masks))) / work.MINERS,
    }
    small, steps = sums(fast, babies, count), []
    found["look"] = a_point(least(lambda: _find(fast, small, babies)))
    for bound in BOUNDS:
        some = max(50, min(count, count * 2**30 // bound))
        points = sums(fast, bound, some)
        took = a_point(least(lambda points=points, bound=bound: _find(fast, points, bound)), some)  # type: ignore[misc]
        steps.append((took - found["look"]) / giant_steps(bound, babies))
        found[f"giant at 2^{bound.bit_length() - 1}"] = steps[-1]
    return {name: round(value, 3) for name, value in (found | {"giant": float(np.mean(steps))}).items()}


def sums(fast: Kernel, bound: int, count: int) -> Points:
    """Points v * H, v uniform within the bound."""
    values: NDArray[np.int64] = np.random.default_rng(bound).integers(-bound, bound + 1, count)
    masks = work.mask_sum(fast, count)
    return fast.unmask([fast.encrypt(work.BASE, masks, values)], work.BASE, masks)


def _find(fast: Kernel, points: Points, bound: int) -> None:
    _values, found = fast.logarithms(points, bound)
    if not found.all():
        raise AssertionError("a sum within the bound was not found")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.pack", description=__doc__)
    parser.add_argument("kernels", nargs="*", default=list(_POINTS), help="which; default: all")
    parser.add_argument("--cache", type=Path, help="folder of compiled kernels")
    options = parser.parse_args()
    log_to_stderr()
    for name in options.kernels:
        print(json.dumps({"kernel": name, **constants(kernel(name, options.cache))}), flush=True)


if __name__ == "__main__":
    main()
