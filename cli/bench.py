"""`flfleet bench`: how fast the curve kernels and the compression are on this machine, beside their rivals."""

import json
from enum import StrEnum
from pathlib import Path

from cli.console import OUT, log_to_stderr
from pipeline.settings import load


class Suite(StrEnum):
    """What `run_bench` measures; `bench/pipeline.py` stands beside it, with options of its own."""

    CURVE = "curve"
    COMPRESS = "compress"


def run_bench(suite: Suite, home: Path, *, as_json: bool, quick: bool) -> None:
    """Prints a suite's table, or with `as_json` one JSON object and nothing else on standard output.

    A home's cache of compiled kernels is used where there is one; else they are compiled for this run.
    """
    log_to_stderr()
    from bench import compress, curve  # numba and llvmlite, for those who measure

    if suite is Suite.CURVE:
        cache = load(home).cache if home.is_dir() else None
        table = curve.measured(100_000 if quick else 1_000_000, quick=quick, cache_dir=cache)
    else:
        table = compress.measured(1_000_000 if quick else 10_000_000)
    if as_json:
        OUT.print(json.dumps(curve.report(table)), soft_wrap=True)
    else:
        OUT.print(curve.text(table), soft_wrap=True, markup=False)
