"""flwr in an environment of its own (its pins do not go with ours): made on request, asked through a pipe."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from bench.learning_rules import Average, Vector
from pipeline.errors import FleetError, Misconfigured

VERSION = "1.42.0"
_SCRIPT = Path(__file__).with_name("learning_flower.py")


def python_of(folder: Path) -> Path | None:
    """The environment's interpreter, where it was made."""
    path = folder / "bin" / "python"
    return path if path.is_file() else None


def make_environment(folder: Path) -> Path:
    """Makes the environment and installs flwr from the configured package index. Raises Misconfigured with pip's last words."""
    for command in (
        [sys.executable, "-m", "venv", str(folder)],
        [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", f"flwr=={VERSION}"],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Misconfigured(f"flwr's environment {folder}: {' '.join(command[1:4])}: {done.stderr.strip()[-500:]}")
    return folder / "bin" / "python"


@contextmanager
def flower(python: Path) -> Iterator[Average]:
    """flwr's average, by a process that lives as long as the block. Raises FleetError where it does not answer."""
    command = [str(python), "-I", str(_SCRIPT)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        source, sink = process.stdout, process.stdin
        if source.readline() != b"ready\n":
            process.kill()
            raise FleetError(f"{python} cannot run flwr's FedAvg; delete its environment and make it again")

        def average(w: Vector, deltas: list[Vector]) -> Vector:
            sink.write(np.array([len(deltas), len(w)], dtype="<i8").tobytes())
            for part in (w, *deltas):
                sink.write(part.astype("<f4").tobytes())
            sink.flush()
            answer = source.read(4 * len(w))
            if len(answer) != 4 * len(w):
                raise FleetError(f"flwr's process ended after {len(answer)} of {4 * len(w)} bytes")
            return np.frombuffer(answer, dtype="<f4").astype(np.float32)

        yield average
        sink.close()
