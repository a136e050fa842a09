"""flwr's FedAvg, run by the Python of an environment that has flwr: it imports nothing of ours.

On standard input and output, in turn: n and d as two little-endian int64, then w and n deltas as float32[d]; the answer is float32[d].
Each miner counts for one sample, so that its weights are ours.
"""

import logging
import sys
from typing import Any

import numpy as np
from flwr.common import Code, FitRes, Status, ndarrays_to_parameters, parameters_to_ndarrays
from flwr.server.strategy import FedAvg


def _fit(w: Any, delta: Any) -> FitRes:
    return FitRes(
        status=Status(code=Code.OK, message=""),
        parameters=ndarrays_to_parameters([w - delta]),
        num_examples=1,
        metrics={},
    )


def main() -> None:
    """Answers until its input ends."""
    logging.getLogger("flwr").setLevel(logging.ERROR)  # it warns in every round of metrics that nobody asked for
    source, sink, strategy = sys.stdin.buffer, sys.stdout.buffer, FedAvg()
    sink.write(b"ready\n")
    sink.flush()
    while header := source.read(16):
        miners, d = np.frombuffer(header, dtype="<i8").tolist()
        w, *deltas = (np.frombuffer(source.read(4 * d), dtype="<f4") for _ in range(miners + 1))
        # The strategy asks nothing of a client in this step, so there is none.
        results: Any = [(None, _fit(w, delta)) for delta in deltas]
        averaged, _ = strategy.aggregate_fit(1, results, [])
        if averaged is None:
            raise SystemExit("flwr's FedAvg gave no average")
        sink.write(parameters_to_ndarrays(averaged)[0].astype("<f4").tobytes())
        sink.flush()


if __name__ == "__main__":
    main()
