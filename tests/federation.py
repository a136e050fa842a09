"""A whole federation for tests: three parties with homes of their own, real HTTP on loopback, and miners that encrypt.

Workers are two threads that do what beat and Celery would: whatever the ledgers say is due.
"""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import uvicorn
from fastapi import FastAPI
from numpy.typing import NDArray

from pipeline import settings as settings_module
from pipeline.aggregation.aggregator import adoption, closing, deadlines, verification
from pipeline.aggregation.aggregator.context import AggregatorDesk, open_desk
from pipeline.aggregation.publisher import following, issuing
from pipeline.aggregation.publisher.context import PublisherDesk, open_publisher_desk
from pipeline.curve.select import kernel
from pipeline.errors import FleetError
from pipeline.nddfe.encrypt import Randomness, encrypt
from pipeline.nddfe.packing import pack
from pipeline.parties.backend import UnreadableTask, open_tasks
from pipeline.protocol.block import Block
from pipeline.protocol.encodings import bitmap_from_indices, ceil_ratio, keccak256, sha256, to_hex
from pipeline.protocol.signing import SecretKey
from pipeline.protocol.submission import Header, Submission
from pipeline.protocol.task import Architecture, Task
from pipeline.protocol.vote import Vote
from pipeline.settings import Settings, load
from pipeline.stores.keys import write_keystore
from tests.signed_tasks import AGGREGATOR, MINERS, PUBLISHER

ARCHITECTURE = Architecture(name="linear", kwargs={"in_features": 12, "num_classes": 3})
DIMENSION = 39
TASK_ID = "task_001"
KERNEL = kernel("reference")


@lru_cache(maxsize=1)
def initial_model() -> bytes:
    import torch

    from pipeline.learning.models.architectures import build
    from pipeline.learning.models.model_file import write_model

    torch.manual_seed(3)
    return write_model(build(ARCHITECTURE).state_dict(), ARCHITECTURE)


def write_validation(folder: Path) -> None:
    """Nine samples of three classes."""
    (folder / "images").mkdir(parents=True)
    values = np.random.default_rng(5).random((9, 12)).astype(np.float32)
    for number, sample in enumerate(values):
        np.save(folder / "images" / f"s{number}.npy", sample)
    (folder / "labels.json").write_text(json.dumps({f"s{number}": number % 3 for number in range(9)}))


def encrypted(
    task: Task,
    miner: SecretKey,
    values: NDArray[np.int64],
    *,
    wish: bytes | None = None,
    randomness: Randomness | None = None,
    score_commit: bytes = keccak256(b"score"),
    **changes: Any,
) -> Submission:
    """A miner's signed submission; `changes` are members of the header that are altered before it is signed."""
    packed = pack(values, task.base, task.quantization.pack)
    made = encrypt(
        KERNEL,
        task,
        miner.point33,
        packed,
        score_commit=score_commit,
        wish=wish,
        randomness=randomness or Randomness.fresh(),
    )
    document = made.header | changes
    header = Header.from_document(document)
    return Submission(
        header=header, signature=miner.sign("submission", document), ciphertext=made.ciphertext, wish=wish
    )


def values_of(seed: int, size: int = DIMENSION) -> NDArray[np.int64]:
    """What a miner sends: integers from -3 to 3."""
    return np.random.default_rng(seed).integers(-3, 4, size)


def wish_of(seed: int, ratio: float = 0.5) -> bytes:
    """A bitmap with as many coordinates as may be wished for."""
    chosen = np.random.default_rng(seed).choice(DIMENSION, ceil_ratio(ratio, DIMENSION), replace=False)
    return bitmap_from_indices(chosen, DIMENSION)


class Door:
    """A real server on loopback for the whole test run, since starting one takes longer than a test; what is behind it changes.

    With nothing behind it, it answers 503, as a proxy in front of a service that is away does.
    """

    def __init__(self) -> None:
        self.behind: FastAPI | None = None
        self.port = free_port()
        config = uvicorn.Config(
            self._answer, host="127.0.0.1", port=self.port, log_level="error", lifespan="off", interface="asgi3"
        )
        server = uvicorn.Server(config)
        threading.Thread(target=server.run, daemon=True).start()
        end = time.monotonic() + 10
        while not server.started:
            assert time.monotonic() < end, "the server did not start"
            time.sleep(0.005)

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        if self.behind is not None:
            await self.behind(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 503, "headers": []})
        await send({"type": "http.response.body", "body": b""})


@lru_cache
def door(name: str) -> Door:
    """The door of a party, opened at first use."""
    return Door()


@contextmanager
def serving(app: FastAPI, at: Door) -> Iterator[None]:
    at.behind = app
    try:
        yield
    finally:
        at.behind = None


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


class Federation:
    """Homes, addresses and desks of the three parties."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, ledgers: Mapping[str, str] | None = None) -> None:
        self._patch = patch
        self._ledgers = ledgers or {}
        self.folder = folder
        self.doors = {name: door(name) for name in ("backend", "publisher", "aggregator")}
        self.urls = {name: f"http://127.0.0.1:{one.port}" for name, one in self.doors.items()}
        patch.setattr("pipeline.stores.keys._ITERATIONS", 1000)
        for name, key in (("backend", None), ("publisher", PUBLISHER), ("aggregator", AGGREGATOR)):
            self._write_home(name, key)
        write_validation(folder / "validation" / "digits")
        self.aggregator: AggregatorDesk = open_desk(self.settings("aggregator"))
        self.publisher: PublisherDesk = open_publisher_desk(self.settings("publisher"))
        self.complaints: list[str] = []

    def settings(self, name: str) -> Settings:
        return load(self.folder / name)

    def app(self, name: str) -> FastAPI:
        """A party's service, made in its own home."""
        from network import aggregator, backend, publisher

        services = {"aggregator": aggregator, "backend": backend, "publisher": publisher}
        self._patch.setenv("FLFLEET_HOME", str(self.folder / name))
        settings_module.current.cache_clear()
        return services[name].create_app()

    def serving(self, name: str) -> Any:
        return serving(self.app(name), self.doors[name])

    def document(self, **changes: Any) -> dict[str, Any]:
        """Round 1 without publishedAt and signature."""
        model = initial_model()
        members = {
            "protocol": "ndd-fe/1",
            "taskID": TASK_ID,
            "round": 1,
            "dataset": "digits",
            "dimension": DIMENSION,
            "modelURL": f"{self.urls['backend']}/models/{sha256(model).hex()}",
            "modelSHA256": to_hex(sha256(model)),
            "architecture": {"name": ARCHITECTURE.name, "kwargs": ARCHITECTURE.kwargs},
            "aggregatorPublicKey": AGGREGATOR.public_key,
            "tpPublicKey": PUBLISHER.public_key,
            "aggregatorURL": self.urls["aggregator"],
            "publisherURL": self.urls["publisher"],
            "miners": [miner.address for miner in MINERS],
            "minMiners": 3,
            "maxMiners": 3,
            "compression": {"ratio": 0.5},
            "quantization": {"scale": 50, "clip": 0.06, "pack": 3},
            "expectedAccuracy": 1.0,
            "maxRounds": 2,
            "timeout": 3600,
        }
        return members | changes

    def signed(self, **changes: Any) -> Task:
        """A task as the publisher signs it."""
        document = {"publishedAt": int(time.time())} | self.document(**changes)
        return Task.from_document(document | {"signature": PUBLISHER.sign("task", document)})

    def open_round(self, **changes: Any) -> Task:
        """A round that publisher and aggregator both have, without any HTTP."""
        task = self.signed(**changes)
        model = self.aggregator.artifacts.put(initial_model())
        self.aggregator.rounds.adopt(task, model=model, support=None, coordinates=task.dimension)
        if self.publisher.plans.find(task.task_id) is None:
            self.publisher.plans.add(self.document(**changes), model=model, ratios=None, stop_at_expected=True)
        self.publisher.artifacts.put(initial_model())
        plan = self.publisher.plans.claim(task.task_id)
        assert plan is not None
        self.publisher.plans.sign(plan, task, model=model, support=None)
        self.publisher.plans.mark_posted(task)
        self.publisher.plans.release(plan)
        return task

    def send(self, submission: Submission, *, as_json: bool = False) -> requests.Response:
        url = f"{self.urls['aggregator']}/aggregator/submit-update"
        if as_json:
            return requests.post(url, json=submission.encode_json(), timeout=30)
        headers = {"Content-Type": "application/msgpack"}
        return requests.post(url, data=submission.encode(), headers=headers, timeout=30)

    def vote(self, *miners: SecretKey, verdict: str = "VALID", reasons: tuple[str, ...] = ()) -> None:
        """These miners (the participants, where none is named) vote on every block that waits, without looking at it."""
        for found in self.aggregator.rounds.moving():
            if found.row.block is None:
                continue
            block = Block.decode(found.row.block.encode())
            named = {one.miner for one in block.fields.participants}
            for miner in miners or [miner for miner in MINERS if miner.address in named]:
                self.aggregator.verdicts.cast(Vote.make(block, verdict, reasons, miner), int(time.time()))
            closing.close_round(self.aggregator, found.row.task_id, found.row.round)

    @contextmanager
    def working(self, *parties: str) -> Iterator[None]:
        """Threads that do what is due, until the block ends."""
        over = threading.Event()
        work = {
            "aggregator": self.aggregate,
            "publisher": self.publish,
            "publisher_keys": self.issue,
            "miners": self.vote,
        }
        threads = [threading.Thread(target=self._loop, args=(work[party], over)) for party in parties]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            over.set()
            for thread in threads:
                thread.join()

    def aggregate(self) -> None:
        """One turn of the aggregator's worker: adopt, verify, close."""
        desk = self.aggregator
        for task in open_tasks(self.urls["backend"], timeout=5) if self._listens("backend") else []:
            assert not isinstance(task, UnreadableTask)
            adoption.adopt(desk, task, time.time())
        for number in verification.due(desk, idle_seconds=0):
            verification.verify(desk, number)
        for task_id, number in deadlines.rounds_due(desk, time.time()):
            closing.close_round(desk, task_id, number)

    def publish(self) -> None:
        """One turn of the publisher's worker: keys, then plans."""
        self.issue()
        if self._listens("backend"):
            for plan in self.publisher.plans.all():
                following.follow(self.publisher, plan.task_id)

    def issue(self) -> None:
        """Keys alone."""
        for request_hash in self.publisher.issued.pending():
            issuing.issue(self.publisher, request_hash)

    def close(self) -> None:
        self.aggregator.close()
        self.publisher.close()

    def _loop(self, turn: Callable[[], None], over: threading.Event) -> None:
        while not over.wait(0.02):
            try:
                turn()
            except FleetError as error:
                self.complaints.append(str(error))

    def _listens(self, name: str) -> bool:
        return self.doors[name].behind is not None

    def _write_home(self, name: str, key: SecretKey | None) -> None:
        home = self.folder / name
        home.mkdir(parents=True)
        lines = [
            f"party_url = {json.dumps(self.urls[name])}",
            f"backend_url = {json.dumps(self.urls['backend'])}",
            f"trusted_publishers = [{json.dumps(PUBLISHER.address)}]",
            f"trusted_aggregators = [{json.dumps(AGGREGATOR.address)}]",
            f"roles = [{json.dumps(name)}]",
            f"validation_data = {json.dumps(str(self.folder / 'validation'))}",
            'curve_kernel = "reference"',
            'broker_url = "memory://"',
        ]
        if name in self._ledgers:
            lines.append(f"ledger_url = {json.dumps(self._ledgers[name])}")
        if key is not None:
            write_keystore(home / "key.json", key)
            lines.append('party_key = "key.json"')
        (home / "fleet.toml").write_text("\n".join(lines) + "\n")


@pytest.fixture
def federation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Federation]:
    one = Federation(tmp_path / "federation", monkeypatch)
    yield one
    one.close()
