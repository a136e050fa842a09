"""How fast encryption and aggregation are, beside their rivals and the port limit, in one run on one core.

python -m bench.curve [--json] [--quick] [--n N] [--cache DIR] [--picture FILE]
"""

import argparse
import json
import platform
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from bench import tenseal_rival, threads, top, work
from bench.measure import Row, least, skip
from bench.ports import limits
from cli.console import log_to_stderr
from pipeline.curve.contract import Kernel
from pipeline.curve.fast import processor
from pipeline.curve.select import kernel
from pipeline.nddfe.keystream import masks
from pipeline.protocol.encodings import bitmap_from_indices

#: Coordinates that a rival of one library call per operation is measured on.
SAMPLE = 300
#: Coordinates packed into one point in the comparison of bytes: B^5 <= 2^40, and few bits each.
PACK = 5
CURVE = (10_000, 100_000, 1_000_000, 10_000_000)


def rows(n: int = 1_000_000, *, quick: bool = False, cache_dir: Path | None = None) -> dict[str, Any]:
    """The table as `flfleet bench --json` prints it: `machine`, `kernel`, `rows`. `quick`: a tenth of the work, no long curve."""
    return report(measured(n // 10 if quick else n, quick=quick, cache_dir=cache_dir))


def report(table: list[Row]) -> dict[str, Any]:
    """The JSON form of a table."""
    return {
        "machine": f"{processor.name()}, {platform.system()}, Python {platform.python_version()}",
        "kernel": processor.choose("auto"),
        "rows": [row.as_json() for row in table],
    }


def measured(n: int, *, quick: bool, cache_dir: Path | None) -> list[Row]:
    """All rows; those of the portable kernel have `scalar` in their name."""
    with tempfile.TemporaryDirectory() as own:
        folder = cache_dir or Path(own)
        reference = kernel("reference")
        best = kernel("auto", folder)
        table = _kernel_rows(best, reference, n)
        if best.name != "scalar":
            table += _kernel_rows(kernel("scalar", folder), reference, n)
        table += [_function_key(best, n // 10), *_packed(best, n), *_curve(best, CURVE[:2] if quick else CURVE)]
        table += [*threads.measured(n // 5, folder), *top.measured(top.N // 10 if quick else top.N)]
        return table


def _kernel_rows(fast: Kernel, reference: Kernel, n: int) -> list[Row]:
    few = n // 10
    bounds = limits(fast.name, few)
    numbers = work.values(n)
    count = min(SAMPLE, few)
    sample = numbers[:count]
    assert work.encrypt(reference, sample) == work.encrypt(fast, sample)
    one = work.encrypt(fast, numbers[:few])
    sampled = work.encrypt(fast, sample)
    all_five = [work.encrypt(fast, work.values(few, seed)) for seed in range(work.MINERS)]
    summed = fast.add_scalars([work.mask_sum(fast, few)] * work.MINERS)
    five = [work.encrypt(fast, sample)] * work.MINERS

    def row(name: str, items: int, limit: float, fast_seconds: float, slow_seconds: float) -> Row:
        ns = fast_seconds / items * 1e9
        return Row(
            name=f"{name}, {fast.name}", n=items, ns=ns, limit=limit, vs={"coincurve": slow_seconds / count * 1e9 / ns}
        )

    return [
        row(
            "encrypt",
            n,
            bounds["encrypt"],
            least(lambda: work.encrypt(fast, numbers)),
            least(lambda: work.encrypt(reference, sample), 1),
        ),
        row(
            "read points32",
            few,
            bounds["decompress"],
            least(lambda: fast.read_points32(one, few)),
            least(lambda: reference.read_points32(sampled, count), 1),
        ),
        row(
            "verify one submission",
            few,
            bounds["verify"],
            least(lambda: work.verify(fast, one, few)),
            least(lambda: work.verify(reference, sampled, count), 1),
        ),
        # The rival is spared the logarithms.
        row(
            "aggregate 5 submissions",
            few,
            bounds["aggregate"],
            least(lambda: work.aggregate(fast, all_five, few, summed)),
            least(lambda: work.unmask(reference, five, count, summed[:count]), 1),
        ),
    ]


def _function_key(fast: Kernel, n: int) -> Row:
    """The publisher's part for a hundred miners, their streams included."""
    streams = [masks(fast, key, 0, n) for key in work.KEYS]
    seconds = least(lambda: fast.add_scalars(streams * 50))
    return Row(name="function key, 100 miners, per coordinate", n=n, ns=seconds / n * 1e9)


def _packed(fast: Kernel, n: int) -> list[Row]:
    """The same vector of n coordinates as points of PACK coordinates each, beside CKKS."""
    if not tenseal_rival.installed():
        skip("tenseal", "it is not installed (pip install 'flfleet[bench]')")
        return []
    points = work.values(n // PACK)
    ns = least(lambda: work.encrypt(fast, points)) / n * 1e9
    size = len(work.encrypt(fast, points)) / n
    rival_ns, rival_size = tenseal_rival.encrypt(work.values(n // 10))
    dense = Row(name="encrypt packed, dense", n=n, ns=ns, size=size, vs={"tenseal": rival_ns / ns})
    # At ratio 0.1 only a tenth of the coordinates is encrypted, beside a bitmap of all; CKKS sends the whole vector.
    few = work.values(n // 10 // PACK)
    few_ns = least(lambda: work.encrypt(fast, few)) / n * 1e9
    few_size = (len(work.encrypt(fast, few)) + len(bitmap_from_indices(np.arange(0, n, 10), n))) / n
    sparse = Row(name="encrypt packed, ratio 0.1", n=n, ns=few_ns, size=few_size, vs={"tenseal": rival_ns / few_ns})
    rival = Row(name="tenseal CKKS", n=n // 10, ns=rival_ns, size=rival_size)
    return [dense, sparse, rival]


def _curve(fast: Kernel, counts: tuple[int, ...]) -> list[Row]:
    """Cost per coordinate over the size of the job: it should be flat."""
    table = []
    for count in counts:
        numbers = work.values(count)
        seconds = least(lambda numbers=numbers: work.encrypt(fast, numbers), 1 if count > 10**6 else 3)  # type: ignore[misc]
        table.append(Row(name=f"encrypt, {count:,} coordinates", n=count, ns=seconds / count * 1e9))
    return table


def text(table: list[Row]) -> str:
    """The table for people."""
    lines = [f"{'':44}{'ns':>10}{'M/s':>8}{'limit':>8}{'x limit':>8}  slower rivals"]
    for row in table:
        limit = "" if row.limit is None else f"{row.limit:.0f}"
        far = "" if row.limit is None else f"{row.ns / row.limit:.2f}"
        rivals = ", ".join(f"{rival} {times:.1f}x" for rival, times in row.vs.items())
        size = "" if row.size is None else f"  {row.size:.2f} bytes"
        if row.peak is not None:
            others = "".join(f" ({rival} {peak / 2**20:.0f})" for rival, peak in row.peaks.items())
            size += f"  {row.peak / 2**20:.0f} MiB{others}"
            size += "" if row.input is None else f", {row.peak / row.input:.2f} times its input"
        lines.append(f"{row.name:44}{row.ns:10.1f}{1000 / row.ns:8.2f}{limit:>8}{far:>8}  {rivals}{size}")
    if not tenseal_rival.installed():
        lines.append("tenseal is not installed: skipped")
    return "\n".join(lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.curve", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work")
    parser.add_argument("--n", type=int, default=1_000_000, help="coordinates")
    parser.add_argument("--cache", type=Path, help="folder of compiled kernels; none: one that is thrown away")
    parser.add_argument("--picture", type=Path, help="write a picture (SVG or PNG); needs matplotlib")
    options = parser.parse_args()
    log_to_stderr()  # the last line on stdout is the JSON object
    table = measured(options.n // 10 if options.quick else options.n, quick=options.quick, cache_dir=options.cache)
    if options.picture:
        from bench.picture import draw

        draw(table, options.picture)
    if options.json:
        print(json.dumps(report(table)))
    else:
        print(processor.name(), processor.choose("auto"))
        print(text(table))


if __name__ == "__main__":
    main()
