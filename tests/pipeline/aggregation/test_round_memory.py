"""What a whole round allocates does not grow with the dimension, whoever does it: closer, auditor, publisher, services and clients.

Torch's own memory and mapped files are not counted: a model that is evaluated is in memory by nature.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.compress import peak
from pipeline.aggregation.aggregator import slicing, verification
from pipeline.aggregation.aggregator.closing import Closing, next_step
from pipeline.aggregation.inspection import inspect
from pipeline.aggregation.publisher import issuing
from pipeline.curve.select import kernel
from pipeline.parties.aggregator import submit
from pipeline.protocol.encodings import sha256, to_hex
from pipeline.protocol.file_bytes import FileBytes
from pipeline.protocol.task import Architecture, Task
from pipeline.stores.artifacts import ArtifactStore
from tests.federation import TASK_ID, Federation, encrypted, values_of
from tests.memory_broker import memory_broker as memory_broker
from tests.signed_tasks import AGGREGATOR, MINERS

#: Points, numbers and bytes that are worked on at once, made small here so that rounds of many chunks may be small.
CHUNKS = {
    "pipeline.nddfe.mask_sum.CHUNK": 2**12,
    "pipeline.learning.selection.CHUNK": 2**12,
    "pipeline.learning.models.model_file.PART": 2**12,
    "pipeline.protocol.file_bytes.PIECE": 2**16,
    "pipeline.aggregation.block.PIECE": 2**16,
    "pipeline.stores.artifacts._CHUNK": 2**16,
}
SMALL, LARGE = 2**15, 2**17
#: What the larger round may take more: noise of the allocator, and of threads that meet by chance.
MARGIN = 1.1
#: Three rounds are played before the first test, every allocation counted.
pytestmark = pytest.mark.timeout(600)


class Played:
    """A round up to its audit over real services; `peaks` has the most bytes that each step allocated at once."""

    def __init__(self, federation: Federation, dimension: int, cache: Path) -> None:
        self.federation, self.dimension = federation, dimension
        self.peaks: dict[str, int] = {}
        fast = {"curve_kernel": "auto", "cache_dir": cache, "slice_groups": 2**13}
        one, other = federation.aggregator, federation.publisher
        self.desk = replace(one, settings=one.settings.model_copy(update=fast))
        self.publisher = replace(other, settings=other.settings.model_copy(update=fast))
        self.model = federation.folder / "model"
        self.task = self._open()

    def play(self) -> "Played":
        with (
            self.federation.serving("backend"),
            self.federation.serving("publisher"),
            self.federation.serving("aggregator"),
        ):
            with self._verifying():
                for seed, miner in enumerate(MINERS[:3]):
                    path, name = self._submission(seed, miner)
                    self._note("submit", lambda path=path, name=name: self._submit(path, name))
            closing = self._step("ask", self._claimed())
            request = closing.request()
            self.publisher.issued.receive(request)
            self._note("issue_key", lambda: issuing.issue(self.publisher, request.request_hash))
            closing = self._step("receive_key", closing)
            closing = self._step("add_up", closing)
            for one in self.desk.slices.all(closing.row.request_hash):
                slicing.add_slice(self.desk, TASK_ID, 1, one.index)
            closing = self._step("add_up", closing)
            closing = self._step("renew_model", closing).advance(accuracy=0.5)
            self._step("form", self._step("upload", closing))
            self._note("audit", self._audit)
        return self

    def _open(self) -> Task:
        import torch

        from pipeline.learning.models.architectures import build
        from pipeline.learning.models.model_file import write_model

        architecture = Architecture(name="linear", kwargs={"in_features": self.dimension // 2 - 1, "num_classes": 2})
        torch.manual_seed(3)
        self.model.write_bytes(write_model(build(architecture).state_dict(), architecture))
        digest = sha256(self.model.read_bytes())
        changes: dict[str, Any] = {
            "dimension": self.dimension,
            "modelURL": f"{self.federation.urls['backend']}/models/{digest.hex()}",
            "modelSHA256": to_hex(digest),
            "architecture": {"name": architecture.name, "kwargs": architecture.kwargs},
            "quantization": {"scale": 50, "clip": 0.06, "pack": 1},
        }
        task = self.federation.signed(**changes)
        model = self.desk.artifacts.put_file(self.model)
        self.desk.rounds.adopt(task, model=model, support=None, coordinates=self.dimension)
        document = self.federation.document(**changes)
        self.publisher.plans.add(document, model=model, ratios=None, stop_at_expected=True)
        plan = self.publisher.plans.claim(TASK_ID)
        assert plan is not None
        self.publisher.plans.sign(plan, task, model=model, support=None)
        return task

    def _submission(self, seed: int, miner: Any) -> tuple[Path, str]:
        wish = np.packbits(np.random.default_rng(seed).random(self.dimension) < 0.3, bitorder="little").tobytes()
        wish = wish[:-1] + bytes([wish[-1] & (1 << (self.dimension - 1) % 8 + 1) - 1])
        one = encrypted(self.task, miner, values_of(seed, self.dimension), wish=wish)
        path = self.federation.folder / f"submission-{seed}"
        path.write_bytes(one.encode())
        return path, one.header.submission_hash

    def _submit(self, path: Path, name: str) -> None:
        submit(
            self.federation.urls["aggregator"],
            FileBytes.at(path),
            submission_hash=name,
            aggregator_address=AGGREGATOR.address,
            timeout=60,
        )

    @contextmanager
    def _verifying(self) -> Iterator[None]:
        over = threading.Event()

        def verify() -> None:
            while not over.wait(0.02):
                for number in verification.due(self.desk, idle_seconds=0):
                    verification.verify(self.desk, number)

        thread = threading.Thread(target=verify)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _claimed(self) -> Closing:
        lease = self.desk.rounds.claim(TASK_ID, 1)
        found = self.desk.rounds.find(TASK_ID, 1)
        assert lease is not None
        assert found is not None
        return Closing(self.desk, lease, found)

    def _step(self, name: str, closing: Closing) -> Closing:
        """Takes the step that is due; the same `closing` where slices are to be added up first."""
        step, taken = next_step(closing), [closing]
        assert step.__name__ == name

        def take() -> None:
            with suppress(slicing.Unfinished):
                taken.append(step(closing))

        self._note(name, take)
        return taken[-1]

    def _audit(self) -> None:
        found, settings = self.desk.rounds.find(TASK_ID, 1), self.federation.settings("backend")
        assert found is not None
        store = ArtifactStore(str(self.federation.folder / "miner"), self.federation.folder / "scratch")
        store.put_file(self.model)
        used = self.desk.kernel
        seen = inspect(self.task, found.row.block_hash, {}, store, settings, used, now=time.time())
        assert seen.reasons == ()
        assert seen.model == found.row.new_model

    def _note(self, name: str, work: Callable[[], object]) -> None:
        self.peaks[name] = max(self.peaks.get(name, 0), peak(work))


@pytest.fixture(scope="module")
def rounds(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Played, Played]]:
    cache = Path(request.config.cache.mkdir("curve"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.federation.KERNEL", kernel("auto", cache))
        for name, size in CHUNKS.items():
            patch.setattr(name, size)
        played = []
        for dimension in (SMALL // 2, SMALL, LARGE):  # the first one loads what a process loads once
            federation = Federation(tmp_path_factory.mktemp("round") / "federation", patch)
            try:
                played.append(Played(federation, dimension, cache).play())
            finally:
                federation.close()
        yield played[1], played[2]


@pytest.mark.parametrize("step", ["ask", "receive_key", "add_up", "renew_model", "form"])
def test_each_step_that_closes_a_large_round_takes_what_it_takes_of_a_small_one(rounds, step: str) -> None:
    small, large = rounds
    assert large.peaks[step] < MARGIN * small.peaks[step]


def test_a_large_function_key_takes_the_publisher_what_a_small_one_takes(rounds) -> None:
    small, large = rounds
    assert large.peaks["issue_key"] < MARGIN * small.peaks["issue_key"]


def test_the_audit_of_a_large_round_takes_what_that_of_a_small_one_takes(rounds) -> None:
    """The answers of the aggregator's service are made and read in this process: they are counted too."""
    small, large = rounds
    assert large.peaks["audit"] < MARGIN * small.peaks["audit"]


def test_a_large_submission_is_sent_received_and_verified_in_what_a_small_one_takes(rounds) -> None:
    small, large = rounds
    assert large.peaks["submit"] < MARGIN * small.peaks["submit"]
