"""How many coordinates share a curve point: the more, the fewer points for everybody, and the longer the logarithm of their sum.

Legend: n miners, c the largest |x_j|, B = 2nc + 1, M baby steps of the logarithm's table. What a round that all wait for spends on a
coordinate, miners working at the same time:

    (a miner's encrypt + wire
     + the aggregator's n (verify + unmask) + wire + logarithm
     + a miner's audit n verify + wire) / pack

    logarithm = look + giant * max(0, bound / 2 - M) / (2M + 1)     for a sum half way to its bound n c (B^pack - 1) / (B - 1)

`choose_pack` takes the least; a larger pack wins a tie. On the wire a point is 33 bytes: a miner sends one and fetches n for its audit at
100 Mbit/s, the aggregator takes n at 1 Gbit/s.
"""

from dataclasses import dataclass

from pipeline.protocol.task import MAX_PACKED

#: Microseconds a point on one core with AVX-512 IFMA (`flfleet bench curve` measures them). Only their ratios matter.
_ENCRYPT, _VERIFY, _UNMASK, _LOOK = 0.50, 1.21, 0.72, 0.09
#: Microseconds a giant step of one point: uniform sums of 2^29.7 took 4.27, of 2^34.7 took 114.
_GIANT = 0.14
#: As `pipeline/curve/fast/babies.py` has them.
_BABIES = 2**22
_POINT_BYTES = 33
#: Bytes a microsecond: 100 Mbit/s and 1 Gbit/s.
_MINERS_LINE, _AGGREGATORS_LINE = 12.5, 125.0


@dataclass(frozen=True, kw_only=True)
class PackCost:
    """What a pack costs, in microseconds a coordinate."""

    pack: int
    points: float
    logarithm: float

    @property
    def total(self) -> float:
        """What is to be least."""
        return self.points + self.logarithm


def pack_costs(max_miners: int, level: int) -> list[PackCost]:
    """Every pack that the protocol allows for n = `max_miners` and c = `level`, from 1 on; none where not even 1 is."""
    base, bound = 2 * max_miners * level + 1, 0
    costs: list[PackCost] = []
    while base ** (len(costs) + 1) <= MAX_PACKED:
        pack = len(costs) + 1
        bound = bound * base + max_miners * level
        costs.append(PackCost(pack=pack, points=_point(max_miners) / pack, logarithm=_logarithm(bound) / pack))
    return costs


def choose_pack(max_miners: int, level: int) -> PackCost | None:
    """The largest pack whose logarithm costs less than it saves; None where B alone is beyond the protocol's 2^40."""
    return min(pack_costs(max_miners, level), key=lambda cost: (cost.total, -cost.pack), default=None)


def _point(miners: int) -> float:
    wire = _POINT_BYTES * ((1 + miners) / _MINERS_LINE + miners / _AGGREGATORS_LINE)
    return _ENCRYPT + miners * (_VERIFY + _UNMASK) + miners * _VERIFY + wire


def _logarithm(bound: int) -> float:
    return _LOOK + _GIANT * max(0.0, bound / 2 - _BABIES) / (2 * _BABIES + 1)
