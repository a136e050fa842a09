"""Arithmetic progressions of points, all of a table's at once: start, start + step, start + 2 step, ..."""

import numpy as np

from pipeline.curve.contract import Points
from pipeline.curve.fast.adder import Adder
from pipeline.curve.fast.memory import empty_points
from pipeline.curve.fast.single import Point, to_points


def progressions(adder: Adder, starts: list[Point], steps: list[Point], count: int) -> Points:
    """The progressions of `count` points for each start and step, one after the other: uint64[len(starts) * count, 8].

    Each round doubles what is there: entry m + i is entry i plus m steps.
    """
    rows = len(starts)
    table = empty_points(rows * count)
    grid = table.reshape(rows, count, 8)
    grid[:, 0] = to_points(starts)
    stride = to_points(steps)
    ready = 1
    each = 2 * np.arange(rows, dtype=np.int32)
    while ready < count:
        new = min(ready, count - ready)
        left = (2 * count * np.arange(rows, dtype=np.int32)[:, None] + 2 * np.arange(new, dtype=np.int32)).ravel()
        sums = adder.pairs(table, left, stride, np.repeat(each, new))
        grid[:, ready : ready + new] = sums.reshape(rows, new, 8)
        stride = adder.pairs(stride, each, stride, each)
        ready += new
    return table
