"""Logarithms to the generator H by baby-step giant-step: v with v * H = S, |v| <= bound.

S's x is looked up among the babies: both signs at once, the common case. What is not there meets the giants G_i = i * M * H,
M = 2 * BABIES + 1, from the nearest outwards: S = v * H is within the babies of +-G_i for just one i. Every candidate is verified by
making v * H again.
"""

import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.curve.contract import MAX_VALUE, Points
from pipeline.curve.fast.adder import Adder
from pipeline.curve.fast.babies import Babies
from pipeline.curve.fast.cache import Compiler
from pipeline.curve.fast.digits import Recoding
from pipeline.curve.fast.field import Field
from pipeline.curve.fast.giants import make_meet, workspace_bytes
from pipeline.curve.fast.memory import aligned, empty_points
from pipeline.curve.fast.pool import Pool
from pipeline.curve.fast.progression import progressions
from pipeline.curve.fast.single import Point, multiply
from pipeline.curve.fast.tables import PLANS, ValueTables

Values = NDArray[np.int64]
#: Pairs of a point and a giant worked on together, and points of a job.
CHUNK = 8192


class Logarithms:
    """The search over one field."""

    def __init__(
        self,
        field: Field,
        compiler: Compiler,
        adder: Adder,
        recoding: Recoding,
        pool: Pool,
        generator: Point,
        babies: Babies,
    ) -> None:
        self._field = field
        self._adder = adder
        self._recoding = recoding
        self._pool = pool
        self._generator = generator
        self._babies = babies
        self._step = 2 * babies.count + 1
        self._meet = make_meet(field, compiler)
        self._local = threading.local()
        self._lock = threading.Lock()
        self._giants = empty_points(0)
        # Two windows at least: a sum has two columns.
        self._multiples = ValueTables(adder, generator, None, PLANS[1:])

    def __call__(self, points: Points, bound: int) -> tuple[Values, NDArray[np.bool_]]:
        """(values, found); a value is 0 where none is found. Raises ValueError for a bound beyond 2^40."""
        if not 0 <= bound <= MAX_VALUE:
            raise ValueError(f"a logarithm's bound is from 0 to 2^{MAX_VALUE.bit_length() - 1}, got {bound}")
        points = np.ascontiguousarray(points)
        values, found = np.zeros(len(points), np.int64), np.zeros(len(points), np.bool_)
        numbers = np.empty(len(points), np.int64)

        def look_up(start: int, stop: int) -> None:
            self._babies.find(points[start:stop], self._babies.slots, 0, numbers[start:stop])

        self._pool.run(len(points), CHUNK, look_up)
        self._take(points, np.arange(len(points)), numbers, bound, values, found)
        found |= ~points.any(axis=1)
        missing = np.flatnonzero(~found)
        giants = self._giants_for(bound) if len(missing) else 0

        def search(start: int, stop: int) -> None:
            self._search(points, missing[start:stop], giants, bound, values, found)

        self._pool.run(len(missing), CHUNK, search)
        return values, found

    def _search(
        self,
        points: Points,
        missing: NDArray[np.int64],
        giants: int,
        bound: int,
        values: Values,
        found: NDArray[np.bool_],
    ) -> None:
        """Meets the points with giants 1, 2, ..., as many at a time as fill a chunk."""
        first = 1
        while len(missing) and first <= giants:
            many = min(max(1, CHUNK // len(missing)), giants - first + 1)
            steps = np.repeat(np.arange(first, first + many), len(missing))
            asked = np.tile(missing, many)
            for owners, candidates in self._candidates(points, asked, steps):
                self._take(points, owners, candidates, bound, values, found)
            missing = missing[~found[missing]]
            first += many

    def _candidates(
        self, points: Points, asked: NDArray[np.int64], steps: NDArray[np.int64]
    ) -> Sequence[tuple[NDArray[np.int64], Values]]:
        """(which point, what it may be): for a baby i at S - G, v is step * M + i or step * M - i."""
        met = self._met(points, asked, steps)
        equal = ~met.any(axis=1)
        numbers = np.empty(len(asked), np.int64)
        candidates = [(asked[equal], sign * self._step * steps[equal]) for sign in (1, -1)]
        for column, side in ((0, -1), (4, 1)):
            self._babies.find(met, self._babies.slots, column, numbers)
            hit = np.flatnonzero(numbers)
            centres, babies = side * self._step * steps[hit], np.abs(numbers[hit])
            candidates += [(asked[hit], centres + babies), (asked[hit], centres - babies)]
        return [candidate for candidate in candidates if len(candidate[0])]

    def _met(self, points: Points, asked: NDArray[np.int64], steps: NDArray[np.int64]) -> NDArray[np.uint64]:
        out = empty_points(len(asked))
        for start in range(0, len(asked), CHUNK):
            stop = min(start + CHUNK, len(asked))
            padded = np.minimum(
                np.arange(start, start + -(-(stop - start) // self._field.lanes) * self._field.lanes), stop - 1
            )
            self._meet(
                points,
                (2 * asked[padded]).astype(np.int32),
                self._giants,
                (2 * (steps[padded] - 1)).astype(np.int32),
                stop - start,
                out[start:stop],
                self._workspace(),
            )
        return out

    def _take(
        self,
        points: Points,
        owners: NDArray[np.int64],
        candidates: Values,
        bound: int,
        values: Values,
        found: NDArray[np.bool_],
    ) -> None:
        """Keeps the candidates (0 is none) that are within the bound and whose multiple is the point."""
        likely = np.flatnonzero((candidates != 0) & (np.abs(candidates) <= bound))
        owners, candidates = owners[likely], candidates[likely]
        right = (self._multiple(candidates) == points[owners]).all(axis=1)
        values[owners[right]] = candidates[right]
        found[owners[right]] = True

    def _multiple(self, candidates: Values) -> Points:
        self._multiples.prepare(candidates)

        def prepare(start: int, stop: int, indices: NDArray[np.int32]) -> Sequence[int]:
            plan = self._multiples.plan(candidates[start:stop])
            self._recoding.values(candidates[start:stop], plan.bias, plan.bits, plan.windows, 0, indices)
            return self._multiples.addresses(plan)

        return self._adder.columns(len(candidates), PLANS[-1].windows, prepare)

    def _giants_for(self, bound: int) -> int:
        """How many giants reach the bound; makes those that are not there yet."""
        needed = max(0, -(-(bound - self._babies.count) // self._step))
        with self._lock:
            if len(self._giants) < needed:
                step = multiply(self._step, self._generator)
                self._giants = progressions(self._adder, [step], [step], needed)
        return needed

    def _workspace(self) -> int:
        space = getattr(self._local, "workspace", None)
        if space is None:
            space = self._local.workspace = aligned(workspace_bytes(self._field, CHUNK))
        return int(space.ctypes.data)
