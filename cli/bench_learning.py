"""`flfleet bench learning`: what compression and encryption cost in accuracy, and save in bytes."""

import json
from collections.abc import Sequence
from pathlib import Path

from cli.console import ERR, OUT, log_to_stderr
from pipeline.errors import Misconfigured
from pipeline.settings import load


def run_learning(
    workloads: Sequence[str],
    seeds: int | None,
    results: Path,
    home: Path,
    *,
    every: bool,
    plot: Path | None,
    table: Path | None,
    flwr: Path,
    install: bool,
    as_json: bool,
) -> bool:
    """Prints the table, or with `as_json` one JSON object; returns whether every target is met. Raises Misconfigured.

    `plot`, `table`: files that get the picture, and the table in place of the one that they hold.
    """
    log_to_stderr()
    from bench import learning, learning_report  # torch, for those who measure
    from bench.learning_cases import WORKLOADS
    from bench.learning_rival import make_environment, python_of
    from pipeline.curve.select import kernel

    if unknown := [name for name in workloads if name not in WORKLOADS]:
        raise Misconfigured(f"--workloads: {unknown[0]!r} is unknown; there are: {', '.join(WORKLOADS)}")
    if not workloads:
        raise Misconfigured(f"--workloads names none; there are: {', '.join(WORKLOADS)}")
    if plot is not None and plot.suffix not in (".svg", ".png"):
        raise Misconfigured(f"--plot: expected a name that ends in .svg or .png, got {plot.name!r}")
    if table is not None:
        if not table.is_file():
            raise Misconfigured(f"--table {table}: no such file")
        learning_report.renewed(table.read_text(), [])  # before hours of work: whether it has a table
    python = python_of(flwr)
    if python is None and install:
        python = make_environment(flwr)
    if python is None:
        ERR.print(f"skipped: flwr (no environment in {flwr}; --install-flwr makes it)", markup=False)

    found = learning.measure(
        list(learning.cases(workloads, seeds, with_flower=python is not None)),
        results,
        kernel(cache_dir=load(home).cache if home.is_dir() else None),
        every=every,
        flower_python=python,
        say=lambda line: ERR.print(line, markup=False),
    )
    rows = learning_report.lines(found)
    if plot is not None:
        from bench.learning_picture import draw

        draw(found, plot)
    if table is not None:
        table.write_text(learning_report.renewed(table.read_text(), rows))
    report = learning_report.as_json(rows, found)
    if as_json:
        OUT.print(json.dumps(report), soft_wrap=True)
    else:
        OUT.print(learning_report.text(rows), soft_wrap=True, markup=False)
    judged, missed = [row for row in rows if row.target is not None], [row for row in rows if row.misses]
    named = "".join(f"; missed: {row.group} {row.rule}, {row.below:.2f} of {row.target:g} points" for row in missed)
    ERR.print(f"{len(judged) - len(missed)} of {len(judged)} targets met{named}", soft_wrap=True, markup=False)
    return bool(report["ok"])
