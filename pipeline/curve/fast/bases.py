"""The tables of the bases in use: kept over calls, the least recently used go when memory is short."""

import threading
from collections import OrderedDict

from pipeline.curve.fast.adder import Adder
from pipeline.curve.fast.digits import Windows
from pipeline.curve.fast.single import decode
from pipeline.curve.fast.tables import BaseTables

#: Window widths that a base may get. 17 bits are 72 MiB and 15 windows; another window less would take 144 MiB.
WIDTHS = range(4, 18)
#: Bytes of all tables.
MEMORY = 160 * 2**20


class Bases:
    """Tables by base. The window grows with the number of multiples that were asked of that base."""

    def __init__(self, adder: Adder, memory: int = MEMORY) -> None:
        self._adder = adder
        self._memory = memory
        self._lock = threading.Lock()
        self._tables: OrderedDict[bytes, BaseTables] = OrderedDict()
        self._demand: dict[bytes, int] = {}

    def tables(self, base: bytes, count: int) -> BaseTables:
        """Tables of a point33 for a job of `count` multiples. Raises Malformed."""
        with self._lock:
            known = self._tables.get(base)
            demand = self._demand.get(base, 0) + count
            windows = best_windows(demand)
            if known is None or windows.count < known.windows.count:
                known = BaseTables(self._adder, decode(base), windows)
            self._tables[base] = known
            self._tables.move_to_end(base)
            self._demand[base] = demand
            self._evict()
            return known

    def _evict(self) -> None:
        while len(self._tables) > 1 and sum(tables.nbytes for tables in self._tables.values()) > self._memory:
            gone, _ = self._tables.popitem(last=False)
            del self._demand[gone]


def best_windows(count: int) -> Windows:
    """The cut that makes tables and `count` multiples with the fewest additions."""
    return min((Windows.of(width) for width in WIDTHS), key=lambda windows: windows.entries + count * windows.count)
