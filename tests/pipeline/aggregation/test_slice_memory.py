"""What a worker allocates is bounded by its slice, not by the round. Memory maps are not counted, nor should they be."""

import mmap
from pathlib import Path

import pytest

from bench.compress import peak
from pipeline.aggregation.collect import check_parts
from pipeline.aggregation.decrypt import aggregate_slice
from pipeline.aggregation.function_key import own_stream_key
from pipeline.curve.arrays import bytes_from_words
from pipeline.curve.contract import Kernel
from pipeline.curve.select import kernel
from pipeline.nddfe.ciphertext import Ciphertext
from pipeline.nddfe.keystream import masks
from pipeline.protocol.submission import Submission
from pipeline.protocol.task import Task
from tests.federation import encrypted, values_of
from tests.signed_tasks import AGGREGATOR, MINERS, PUBLISHER, make_task

SLICE = 2**14


@pytest.fixture(scope="module")
def fast(request: pytest.FixtureRequest) -> Kernel:
    return kernel("auto", Path(request.config.cache.mkdir("curve")))


class Round:
    """Three times one miner's submission, its bytes and the key on disk."""

    def __init__(self, folder: Path, groups: int, fast: Kernel) -> None:
        self.groups, self.fast = groups, fast
        self.task: Task = make_task(dimension=groups, quantization={"scale": 50, "clip": 0.06, "pack": 1})
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("tests.federation.KERNEL", fast)
            self.submission: Submission = encrypted(self.task, MINERS[0], values_of(1, groups))
        stream = own_stream_key("tp", self.task, self.submission.header, PUBLISHER)
        words = masks(fast, stream, 0, groups)
        self.ciphertext = mapped(folder / "ciphertext", self.submission.ciphertext)
        self.key = mapped(folder / "key", bytes_from_words(fast.add_scalars([words] * 3)))

    def add_up_last_slice(self) -> list[int]:
        stream = own_stream_key("agg", self.task, self.submission.header, AGGREGATOR)
        points = [Ciphertext(self.ciphertext, self.groups + 1)] * 3
        last = range(self.groups - SLICE, self.groups)
        total = aggregate_slice(self.task, self.groups, points, [stream] * 3, self.key, self.fast, last)
        return total.values.tolist()

    def verify(self) -> None:
        one = self.submission
        check_parts(self.task, one.header, one.signature, self.ciphertext, None, self.groups, self.fast)


def mapped(path: Path, data: bytes) -> memoryview:
    path.write_bytes(data)
    with path.open("rb") as source:
        return memoryview(mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ))


def test_a_slice_of_a_large_round_takes_what_one_of_a_small_round_takes(tmp_path: Path, fast: Kernel) -> None:
    peaks, verified = [], []
    for name, groups in (("small", 2**17), ("large", 2**19)):
        (tmp_path / name).mkdir()
        one = Round(tmp_path / name, groups, fast)
        expected = (3 * values_of(1, groups)[-SLICE:]).tolist()
        assert one.add_up_last_slice() == expected
        peaks.append(peak(one.add_up_last_slice))
        one.verify()
        verified.append(peak(one.verify))
    assert peaks[1] < 1.1 * peaks[0]
    assert verified[1] < 1.1 * verified[0]
