"""`flfleet warmup`: what a worker would otherwise compile and tabulate at its first task, made ahead."""

import json
from pathlib import Path

from cli.console import OUT
from pipeline.curve.select import warmup
from pipeline.settings import load
from tasks.logs import configure


def warm_up(home: Path, kernel: str, *, as_json: bool) -> None:
    """Fills the home's cache folder and says how long it took. Raises Misconfigured where it cannot be written."""
    configure()
    done = warmup(load(home).cache, kernel)
    if as_json:
        OUT.print(json.dumps(done), soft_wrap=True)
    else:
        OUT.print(f"{done['kernel']} kernel ready in {done['folder']} after {done['seconds']} s, {done['bytes']} bytes")
