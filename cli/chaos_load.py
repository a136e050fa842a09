"""The load: many small tasks, each with a model of its own, planned one after the other through the publisher."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cli.chaos_home import CLASSES, DATASET, DIMENSION, MINERS, SIDE, Ground
from cli.consortium import Consortium
from pipeline.errors import Retryable
from pipeline.protocol.encodings import PROTOCOL, sha256, to_hex
from pipeline.protocol.task import Architecture
from pipeline.settings import load

_ARCHITECTURE = Architecture(name="linear", kwargs={"in_features": SIDE * SIDE, "num_classes": CLASSES})
#: Long after the end: no run may excuse itself with a deadline.
_DEADLINE_SECONDS = 3600


@dataclass(frozen=True, kw_only=True)
class SmallTask:
    """A task that is to be planned, and its model file."""

    document: dict[str, Any]
    model: bytes


def small_tasks(consortium: Consortium, aggregator_url: str, count: int, seed: int) -> list[SmallTask]:
    """One-round tasks for all miners. The models differ: a miner sends one update over a model."""
    import torch

    from pipeline.learning.models.architectures import build
    from pipeline.learning.models.model_file import write_model

    made = []
    for number in range(1, count + 1):
        torch.manual_seed(seed + number)
        model = write_model(build(_ARCHITECTURE).state_dict(), _ARCHITECTURE)
        made.append(SmallTask(document=_document(f"chaos-{number:04}", model, consortium, aggregator_url), model=model))
    return made


def _document(task_id: str, model: bytes, consortium: Consortium, aggregator_url: str) -> dict[str, Any]:
    return {
        "protocol": PROTOCOL,
        "taskID": task_id,
        "round": 1,
        "dataset": DATASET,
        "dimension": DIMENSION,
        "modelURL": f"{consortium.backend}/models/{sha256(model).hex()}",
        "modelSHA256": to_hex(sha256(model)),
        "architecture": {"name": _ARCHITECTURE.name, "kwargs": _ARCHITECTURE.kwargs},
        "aggregatorPublicKey": consortium.aggregator.public_key,
        "tpPublicKey": consortium.publisher.public_key,
        "aggregatorURL": aggregator_url,
        "publisherURL": consortium.publisher.url,
        "miners": consortium.miners,
        "minMiners": MINERS,
        "maxMiners": MINERS,
        "training": {"epochs": 2, "batchSize": 8, "optimizer": "sgd", "learningRate": 0.1},
        "compression": {"ratio": 0.1},
        "quantization": {"scale": 50, "clip": 0.06, "pack": 3},
        "maxRounds": 1,
        "timeout": _DEADLINE_SECONDS,
    }


class Load:
    """A thread that plans the tasks evenly over a time."""

    def __init__(self, ground: Ground, tasks: Sequence[SmallTask], seconds: float) -> None:
        self._settings = load(ground.network.publisher_home)
        self._tasks, self._pause = tasks, seconds / max(len(tasks), 1)
        self._over = threading.Event()
        self._planned = 0
        self._thread = threading.Thread(target=self._feed, name="load", daemon=True)

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def is_done(self) -> bool:
        """Whether every task is planned."""
        return self._planned == len(self._tasks)

    def plan(self, task: SmallTask) -> None:
        """Gives the publisher a plan. Raises Retryable while its ledger is busy."""
        from tasks.publishing import plan

        plan(self._settings, document=task.document, model=task.model, ratios=None)

    def _feed(self) -> None:
        for task in self._tasks:
            while True:
                try:
                    self.plan(task)
                    break
                except Retryable:
                    if self._over.wait(0.5):
                        return
            self._planned += 1
            if self._over.wait(self._pause):
                return
