"""A whole round in process: three miners over real HTTP, and the other parties' halves by their own pure functions."""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.aggregation.collect import check_submission
from pipeline.aggregation.decrypt import aggregate
from pipeline.aggregation.evaluate import evaluate, new_model
from pipeline.aggregation.function_key import build_request, check_key, issue_key, own_stream_key
from pipeline.curve.select import kernel
from pipeline.errors import Rejected
from pipeline.learning.data.digits import write_digits
from pipeline.learning.models.architectures import build
from pipeline.learning.models.checkpoints import dimension_of
from pipeline.learning.models.model_file import write_model
from pipeline.nddfe.ciphertext import Ciphertext
from pipeline.nddfe.score import commitment
from pipeline.protocol.encodings import from_hex, sha256, to_hex
from pipeline.protocol.submission import Submission
from pipeline.protocol.task import Architecture, Task
from pipeline.run import run_round
from pipeline.settings import load
from pipeline.stages.contract import Job
from pipeline.stores.artifacts import ArtifactStore
from pipeline.stores.keys import Identity
from tests.signed_tasks import AGGREGATOR, MINERS, PUBLISHER, document

NAMES = ["north", "east", "south"]


class Parties:
    """A backend that hosts one model, and an aggregator that checks what it is sent and signs a receipt."""

    def __init__(self, model: bytes) -> None:
        self.model = model
        self.url = ""
        self.task: Task | None = None
        self.taken: list[Submission] = []

    def receive(self, body: bytes) -> dict[str, object]:
        assert self.task is not None
        submission = Submission.decode(body)
        check_submission(self.task, submission, self.task.dimension, kernel())
        self.taken.append(submission)
        receipt = {"submissionHash": submission.header.submission_hash, "receivedAt": 1764000000}
        return {**receipt, "signature": AGGREGATOR.sign("receipt", receipt)}


@pytest.fixture
def parties() -> Iterator[Parties]:
    torch.manual_seed(1)
    architecture = Architecture(name="cnn")
    parties = Parties(write_model(build(architecture).state_dict(), architecture))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(200, parties.model)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(202, json.dumps(parties.receive(body)).encode())

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    parties.url = f"http://127.0.0.1:{server.server_port}"
    yield parties
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def jobs(parties: Parties, tmp_path: Path) -> list[Job]:
    write_digits(tmp_path / "data", NAMES, 100, tmp_path / "validation", 200)
    state = build(Architecture(name="cnn")).state_dict()
    parties.task = Task.from_document(
        document(
            dataset="mnist",
            dimension=dimension_of(state),
            modelURL=f"{parties.url}/models/m",
            modelSHA256=to_hex(sha256(parties.model)),
            aggregatorURL=parties.url,
            training={"epochs": 4, "batchSize": 16, "learningRate": 0.1},
        )
    )
    settings = load(tmp_path / "home")
    store = ArtifactStore(settings.artifacts, settings.cache / "scratch")
    return [
        Job(
            run_id=name,
            task=parties.task,
            identity=Identity(name=name, address=key.address, point33=key.point33, data=tmp_path / "data" / name),
            inputs={},
            figures={},
            artifacts=store,
            settings=settings,
            secret_key=lambda key=key: key,
        )
        for name, key in zip(NAMES, MINERS, strict=False)
    ]


def test_three_miners_updates_add_up_and_make_a_better_model(parties: Parties, jobs: list[Job], tmp_path: Path) -> None:
    done = [run_round(job) for job in jobs]
    task, store = jobs[0].task, jobs[0].artifacts

    # The aggregator asks, the publisher answers, the aggregator decrypts.
    groups = task.groups(task.dimension)
    request = build_request(task, parties.taken, AGGREGATOR, groups, kernel())
    key = issue_key(task, request, PUBLISHER, groups, kernel())
    check_key(task, request, key, groups)
    points = [Ciphertext(one.ciphertext, groups + 1) for one in parties.taken]
    streams = [own_stream_key("agg", task, one.header, AGGREGATOR) for one in parties.taken]
    result = aggregate(task, task.dimension, points, streams, key, kernel())

    encrypted = np.sum([store.get_array(job.inputs["values"]).astype(np.int64) for job in done], axis=0)
    assert result.dropped == []
    assert np.array_equal(result.values, encrypted)

    (tmp_path / "old").write_bytes(parties.model)
    (tmp_path / "new").write_bytes(new_model(tmp_path / "old", task, result.values, None, len(done)))
    before, after = (
        evaluate(tmp_path / name, task, tmp_path / "validation", tmp_path / "cache") for name in ("old", "new")
    )
    assert after > before + 0.2


def test_the_opening_that_was_kept_opens_the_commitment_that_was_sent(parties: Parties, jobs: list[Job]) -> None:
    done = run_round(jobs[0])
    opening = json.loads(done.artifacts.get(done.inputs["opening"]))
    header = parties.taken[0].header
    committed = commitment(int(opening["score"]), from_hex(opening["nonce"]), done.task.task_id, header.miner)
    assert to_hex(committed) == header.score_commit


def test_a_model_that_is_not_the_signed_one_is_refused_before_it_is_read(parties: Parties, jobs: list[Job]) -> None:
    parties.model = parties.model[:-4] + b"\0\0\0\0"
    with pytest.raises(Rejected, match="SHA-256"):
        run_round(jobs[0])
    assert parties.taken == []


def test_a_model_is_fetched_once_for_all_miners(parties: Parties, jobs: list[Job]) -> None:
    run_round(jobs[0])
    parties.model = b"gone"
    run_round(jobs[1])
    assert len(parties.taken) == 2


def test_two_trainings_of_the_same_data_differ(parties: Parties, jobs: list[Job]) -> None:
    first, second = (run_round(replace(jobs[0], run_id=name)) for name in "ab")
    assert first.inputs["delta"] != second.inputs["delta"]
