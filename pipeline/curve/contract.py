"""The contract of a curve kernel, and the array forms that cross it.

Legend: q, g the order and generator of secp256k1; H the second generator (docs/protocol.md, section 1); n the number of points.

Two array forms, both little-endian words so that numpy and compiled kernels share them without a copy:

* `Points`   uint64[n, 8]: x in words 0-3, y in words 4-7, affine. All zeros is infinity (0, 0 is not on the curve).
* `Scalars`  uint64[n, 4]: an integer 0 <= s < q.
* `Weights`  uint64[n, 2]: an integer below 2^128 (the proof's rho).

Every implementation behaves the same on every input, hostile points included (equal, opposite, infinite): no exception, no
wrong neighbour. Implementations: `reference` (libsecp256k1 through coincurve, one call an operation).
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.uint64]
Scalars = NDArray[np.uint64]
Weights = NDArray[np.uint64]

#: The field's prime.
P = 2**256 - 2**32 - 977
#: The group's order.
Q = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
#: The largest |value| that `encrypt` takes and `logarithms` finds: docs/protocol.md, section 2 allows B^pack <= 2^40.
MAX_VALUE = 2**40


class Kernel(Protocol):
    """Bulk operations of NDD-FE. Stateless to the caller; an implementation may cache tables per base point."""

    @property
    def name(self) -> str:
        """A short name for people: `reference`, `scalar`, `ifma`."""

    def reduce(self, words: bytes) -> Scalars:
        """Reads 32-byte big-endian words (a keystream) as integers mod q. Length must be a multiple of 32."""

    def add_scalars(self, terms: Sequence[Scalars]) -> Scalars:
        """The sums mod q, element by element, of one or more arrays of one shape."""

    def dot(self, weights: Weights, scalars: Scalars) -> int:
        """sum of weights[i] * scalars[i] mod q."""

    def dot_values(self, weights: Weights, values: NDArray[np.int64]) -> int:
        """sum of weights[i] * values[i] mod q, values of both signs."""

    def encrypt(self, base: bytes, masks: Scalars, values: NDArray[np.int64]) -> Points:
        """masks[i] * base + values[i] * H for each i. `base` is a point33; |values[i]| <= 2^40 (ValueError beyond)."""

    def read_points32(self, data: bytes, count: int) -> Points:
        """Decodes `points32` of docs/protocol.md, section 1. Raises Malformed: length, x >= p, x on no point, spare bits."""

    def write_points32(self, points: Points) -> bytes:
        """Encodes `points32`. Raises Malformed at infinity, which has no encoding."""

    def weighted_sum(self, points: Points, weights: Weights) -> Points:
        """The single point sum of weights[i] * points[i], shape [1, 8]; infinity possible."""

    def unmask(self, submissions: Sequence[Points], base: bytes, masks: Scalars) -> Points:
        """(sum over submissions of points[i]) - masks[i] * base for each i; infinity possible in and out."""

    def logarithms(self, points: Points, bound: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Finds v with v * H == points[i] and |v| <= bound. Returns (values, found); values is 0 where not found."""
