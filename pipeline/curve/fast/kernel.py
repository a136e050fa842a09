"""The contract (`contract.Kernel`) put together from the parts of this package."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.curve.contract import Points, Scalars, Weights
from pipeline.curve.fast import processor
from pipeline.curve.fast.adder import Adder
from pipeline.curve.fast.babies import Babies
from pipeline.curve.fast.bases import Bases
from pipeline.curve.fast.cache import Compiler
from pipeline.curve.fast.digits import Recoding, make_recoding
from pipeline.curve.fast.field import ENTRY, Field
from pipeline.curve.fast.field_ifma import IfmaField
from pipeline.curve.fast.field_scalar import ScalarField
from pipeline.curve.fast.groups import GroupSums
from pipeline.curve.fast.interleaved import InterleavedField
from pipeline.curve.fast.logarithm import Logarithms
from pipeline.curve.fast.multiexp import WeightedSum
from pipeline.curve.fast.points32 import Points32
from pipeline.curve.fast.pool import Pool
from pipeline.curve.fast.scalars import ScalarArithmetic
from pipeline.curve.fast.single import decode
from pipeline.curve.fast.tables import LARGE, PLANS, BaseTables, R, ValueTables
from pipeline.curve.generators import H

GENERATOR = decode(H)
#: Sums that share an inversion: it costs some 270 products of a group, against 200 bytes (scalar: 160) of notes a sum to stream.
CHUNKS = {"ifma": 16384, "scalar": 2048}


def field_of(name: str) -> Field:
    """The field of a kernel's additions. Two scalar elements side by side, since one leaves the multiplier waiting."""
    return IfmaField() if name == "ifma" else InterleavedField(ScalarField(), 2)


def chain_field_of(name: str) -> Field:
    """The field of a kernel's square roots: 253 squarings one after the other, two at a time for either."""
    return InterleavedField(IfmaField() if name == "ifma" else ScalarField(), 2)


class BatchKernel:
    """secp256k1 in bulk. Compiled parts and tables are made at their first use.

    `name` is ifma or scalar (Misconfigured where this processor cannot); `cache_dir` keeps compiled code and the table of
    logarithms, None keeps them in memory; `threads` work on one call.
    """

    def __init__(self, name: str, cache_dir: Path | None, threads: int = 1) -> None:
        self._name = processor.choose(name)
        self._cache_dir = cache_dir
        self._pool = Pool(threads)
        self._field = field_of(self._name)
        self._compiler = Compiler(cache_dir, self._field.name)
        self._shared_compiler = Compiler(cache_dir, "shared")

    @property
    def name(self) -> str:
        """`ifma` or `scalar`."""
        return self._name

    def reduce(self, words: bytes) -> Scalars:
        """See `contract.Kernel`."""
        return self._scalars.reduce(words)

    def add_scalars(self, terms: Sequence[Scalars]) -> Scalars:
        """See `contract.Kernel`."""
        return self._scalars.add(terms)

    def dot(self, weights: Weights, scalars: Scalars) -> int:
        """See `contract.Kernel`."""
        return self._scalars.dot(weights, scalars)

    def dot_values(self, weights: Weights, values: NDArray[np.int64]) -> int:
        """See `contract.Kernel`."""
        return self._scalars.dot_values(weights, values)

    def encrypt(self, base: bytes, masks: Scalars, values: NDArray[np.int64]) -> Points:
        """See `contract.Kernel`. One addition for each window of the mask and of the value."""
        if len(masks) != len(values):
            raise ValueError(f"as many masks as values: got {len(masks)} and {len(values)}")
        masks, values = np.ascontiguousarray(masks), np.ascontiguousarray(values)
        self._values.prepare(values)
        tables = self._bases.tables(base, len(masks))

        def prepare(start: int, stop: int, indices: NDArray[np.int32]) -> Sequence[int]:
            self._recode(tables, masks[start:stop], negate=False, indices=indices)
            part = values[start:stop]
            plan = self._values.plan(part)
            self._recoding.values(part, plan.bias, plan.bits, plan.windows, tables.windows.count, indices)
            return [*tables.hidden(), *self._values.addresses(plan)]

        return self._adder.columns(len(masks), tables.windows.count + PLANS[-1].windows, prepare)

    def read_points32(self, data: bytes, count: int) -> Points:
        """See `contract.Kernel`."""
        return self._points32.read(data, count)

    def write_points32(self, points: Points) -> bytes:
        """See `contract.Kernel`."""
        return self._points32.write(points)

    def weighted_sum(self, points: Points, weights: Weights) -> Points:
        """See `contract.Kernel`."""
        return self._weighted_sum(points, weights)

    def unmask(self, submissions: Sequence[Points], base: bytes, masks: Scalars) -> Points:
        """See `contract.Kernel`."""
        if any(len(points) != len(masks) for points in submissions):
            raise ValueError(f"{len(masks)} masks for submissions of {[len(points) for points in submissions]} points")
        arrays = [np.ascontiguousarray(points) for points in submissions]
        masks = np.ascontiguousarray(masks)
        tables = self._bases.tables(base, len(masks))
        addresses = tables.plain()
        first = tables.windows.count

        def prepare(start: int, stop: int, indices: NDArray[np.int32]) -> Sequence[int]:
            self._recode(tables, masks[start:stop], negate=True, indices=indices)
            indices[first:, : stop - start] = np.arange(stop - start, dtype=np.int32) << np.int32(1)
            return [*addresses, *(points.ctypes.data + ENTRY * start for points in arrays)]

        return self._adder.columns(len(masks), first + len(arrays), prepare)

    def logarithms(self, points: Points, bound: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """See `contract.Kernel`."""
        return self._logarithms(points, bound)

    def _recode(self, tables: BaseTables, masks: Scalars, *, negate: bool, indices: NDArray[np.int32]) -> None:
        windows = tables.windows
        self._recoding.masks(
            masks,
            int(negate),
            tables.ones,
            windows.first,
            windows.width,
            windows.count,
            indices,
        )

    @cached_property
    def _scalars(self) -> ScalarArithmetic:
        return ScalarArithmetic(self._shared_compiler)

    @cached_property
    def _adder(self) -> Adder:
        return Adder(self._field, self._compiler, self._pool, CHUNKS[self._name])

    @cached_property
    def _recoding(self) -> Recoding:
        return make_recoding(self._shared_compiler)

    @cached_property
    def _bases(self) -> Bases:
        return Bases(self._adder)

    @cached_property
    def _values(self) -> ValueTables:
        return ValueTables(self._adder, GENERATOR, R, large=LARGE)

    @cached_property
    def _points32(self) -> Points32:
        field = chain_field_of(self._name)
        return Points32(field, Compiler(self._cache_dir, field.name), self._pool)

    @cached_property
    def _weighted_sum(self) -> WeightedSum:
        return WeightedSum(GroupSums(self._adder, self._shared_compiler), self._shared_compiler)

    @cached_property
    def _logarithms(self) -> Logarithms:
        babies = Babies(self._adder, self._shared_compiler, GENERATOR, self._cache_dir)
        return Logarithms(self._field, self._compiler, self._adder, self._recoding, self._pool, GENERATOR, babies)
