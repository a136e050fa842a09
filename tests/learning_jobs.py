"""Jobs over a small signed task, and a loopback server that hands out what a test puts in."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.protocol.signing import SecretKey
from pipeline.protocol.task import Task
from pipeline.settings import Settings, load
from pipeline.stages.contract import Job
from pipeline.stores.artifacts import ArtifactStore
from pipeline.stores.keys import Identity

PUBLISHER, AGGREGATOR = SecretKey(b"\x01" * 32), SecretKey(b"\x02" * 32)
MINERS = tuple(SecretKey(bytes([10 + number]) * 32) for number in range(3))
HASH = "0x" + "ab" * 32


def make_task(**changes: Any) -> Task:
    """Round 1 of a linear model with 21 values; `changes` replace or (None) remove members."""
    members: dict[str, Any] = {
        "protocol": "ndd-fe/1",
        "taskID": "task_001",
        "round": 1,
        "dataset": "ward",
        "dimension": 21,
        "modelURL": "http://127.0.0.1:1/model",
        "modelSHA256": HASH,
        "architecture": {"name": "linear", "kwargs": {"in_features": 6, "num_classes": 3}},
        "aggregatorPublicKey": AGGREGATOR.public_key,
        "tpPublicKey": PUBLISHER.public_key,
        "aggregatorURL": "http://127.0.0.1:1",
        "publisherURL": "http://127.0.0.1:1",
        "miners": [miner.address for miner in MINERS],
        "minMiners": 3,
        "maxMiners": 3,
        "training": {"epochs": 3, "batchSize": 8, "learningRate": 0.1},
        "compression": {"ratio": 0.25},
        "quantization": {"scale": 100, "clip": 0.05, "pack": 4},
        "publishedAt": 1764000000,
        **changes,
    }
    return Task.from_document({name: value for name, value in members.items() if value is not None})


def make_job(folder: Path, task: Task, **changes: Any) -> Job:
    """A job of the first miner, whose home is `folder`."""
    settings = changes.pop("settings", None) or make_settings(folder)
    identity = Identity(name="ward-7", address=MINERS[0].address, point33=MINERS[0].point33, data=folder / "data")
    members: dict[str, Any] = {"inputs": {}, "figures": {}, **changes}
    store = ArtifactStore(settings.artifacts, settings.cache / "scratch")
    return Job(run_id="run", task=task, identity=identity, artifacts=store, settings=settings, **members)


def make_settings(folder: Path, **changes: Any) -> Settings:
    """Settings of a home; few coordinates are enough."""
    return load(folder).model_copy(update={"min_coordinates": 1, **changes})


def write_ward(folder: Path, count: int = 60) -> None:
    """`<folder>/ward`: points of 6 values in 3 classes that a linear model tells apart."""
    rng = np.random.default_rng(4)
    images = folder / "ward" / "images"
    images.mkdir(parents=True)
    labels = {f"sample_{number:04d}": number % 3 for number in range(count)}
    for name, label in labels.items():
        np.save(images / f"{name}.npy", (np.eye(3, 6)[label] * 4 + rng.normal(size=6) * 0.3).astype(np.float32))
    (folder / "ward" / "labels.json").write_text(json.dumps(labels))


def make_block(**changes: Any) -> dict[str, Any]:
    """A block of round 1, signed by the aggregator."""
    block: dict[str, Any] = {
        "protocol": "ndd-fe/1",
        "taskID": "task_001",
        "round": 1,
        "modelURL": "http://127.0.0.1:1/model",
        "accuracy": 0.5,
        "participants": [],
        "keySignature": "0x" + "00" * 65,
        "dropped": [],
        "createdAt": 1764003600,
        **dict.fromkeys(("taskHash", "parentModelHash", "modelHash", "requestHash", "keyHash"), HASH),
        **dict.fromkeys(("maskSumHash", "aggregateHash", "nextSupportHash"), HASH),
        **changes,
    }
    return block | {"signature": AGGREGATOR.sign("block", block)}


class Shelf(dict[str, bytes]):
    """What the server has, by path; `asked` lists the paths that were asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.url = ""

    def put(self, path: str, body: bytes) -> str:
        self[path] = body
        return self.url + path


@contextmanager
def shelf() -> Iterator[Shelf]:
    """Serves a `Shelf` on loopback, 404 for what it has not."""
    served = Shelf()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.asked.append(self.path)
            body = served.get(self.path)
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
