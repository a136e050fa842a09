import numpy as np
import psutil
import pytest
from structlog.testing import capture_logs

from bench import top
from bench.curve import text


def test_the_largest_are_found_in_a_fraction_of_the_input_beside_both_rivals() -> None:
    (row,) = top.measured(8_000_000)
    found = row.as_json()
    assert set(found["vs"]) == {"torch.topk", "np.partition"}
    assert found["peakTimesInput"] < 1 < found["peakTimesInputOf"]["np.partition"]
    assert "times its input" in text([row])


def test_with_little_memory_it_is_skipped_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(top, "LEAST_FREE_BYTES", psutil.virtual_memory().total * 2)
    with capture_logs() as logs:
        assert top.measured(1_000_000) == []
    assert logs[0]["event"] == "skipped: top 0.01 of 1,000,000"
    assert "GB of memory" in logs[0]["reason"]


def test_a_selection_that_is_wrong_is_no_result() -> None:
    numbers = np.arange(100, dtype=np.float32)
    top._check(np.packbits(numbers >= 90, bitorder="little").tobytes(), numbers, 10)
    with pytest.raises(AssertionError, match="not the largest"):
        top._check(np.packbits(numbers < 10, bitorder="little").tobytes(), numbers, 10)
