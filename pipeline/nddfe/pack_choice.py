"""How many coordinates share a curve point: the more, the fewer points for everybody, and the longer the logarithm of their sum.

Legend: n miners, c the largest |x_j|, B = 2nc + 1, M baby steps of the logarithm's table. What a round that all wait for spends on a
coordinate, miners working at the same time:

    (a miner's encrypt + wire
     + the aggregator's n (verify + unmask) + wire + logarithm
     + a miner's audit n verify + wire) / pack

    logarithm = look + giant * max(0, bound / 2 - M) / (2M + 1)     for a sum half way to its bound n c (B^pack - 1) / (B - 1)

`choose_pack` takes the least; a larger pack wins a tie. On the wire a point is 33 bytes: a miner sends one and fetches n for its audit at
100 Mbit/s, the aggregator takes n at 1 Gbit/s. A portable kernel is five times slower at points and less than twice at giant steps, so it packs
more: each kernel has its own constants, and whoever chooses supposes that the others compute as it does.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.protocol.task import MAX_PACKED


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Of a kernel, microseconds a point on one core. Only their ratios to each other and to the wire matter."""

    encrypt: float
    #: Of one submission's point: reading it, and its part of V and of the mask sum.
    verify: float
    #: Of one submission's point: reading it again, and adding it up.
    unmask: float
    #: Of a sum within the table.
    look: float
    #: A giant step of one point.
    giant: float
    #: Of the kernel's table.
    babies: int


#: By `python -m bench.pack`, each kernel forced, on one core of a Xeon with AVX-512 IFMA: the least of three runs (of `reference`, of one).
COSTS: Mapping[str, Costs] = {
    "ifma": Costs(encrypt=0.39, verify=1.07, unmask=0.61, look=0.11, giant=0.16, babies=2**22),
    "scalar": Costs(encrypt=1.95, verify=4.16, unmask=3.05, look=0.20, giant=0.25, babies=2**22),
    "reference": Costs(encrypt=54.8, verify=42.7, unmask=18.2, look=124.0, giant=4.9, babies=2**20),
}
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


def pack_costs(max_miners: int, level: int, kernel: str) -> list[PackCost]:
    """Every pack that the protocol allows for n = `max_miners` and c = `level`, from 1 on; none where not even 1 is."""
    costs, base, bound = COSTS[kernel], 2 * max_miners * level + 1, 0
    found: list[PackCost] = []
    while base ** (len(found) + 1) <= MAX_PACKED:
        pack = len(found) + 1
        bound = bound * base + max_miners * level
        logarithm = costs.look + costs.giant * giant_steps(bound, costs.babies)
        found.append(PackCost(pack=pack, points=_point(max_miners, costs) / pack, logarithm=logarithm / pack))
    return found


def choose_pack(max_miners: int, level: int, kernel: str) -> PackCost | None:
    """The largest pack whose logarithm costs less than it saves; None where B alone is beyond the protocol's 2^40."""
    return min(pack_costs(max_miners, level, kernel), key=lambda cost: (cost.total, -cost.pack), default=None)


def giant_steps(bound: int, babies: int) -> float:
    """Of a sum half way to its bound."""
    return max(0.0, bound / 2 - babies) / (2 * babies + 1)


def _point(miners: int, costs: Costs) -> float:
    wire = _POINT_BYTES * ((1 + miners) / _MINERS_LINE + miners / _AGGREGATORS_LINE)
    return costs.encrypt + miners * (costs.verify + costs.unmask) + miners * costs.verify + wire
