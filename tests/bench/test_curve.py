"""The bench runs, and says what `flfleet bench --json` promises."""

import json
from pathlib import Path

import pytest

from bench.curve import rows, text
from bench.measure import Row
from pipeline.curve.fast import processor


@pytest.fixture(scope="module")
def report(request: pytest.FixtureRequest) -> dict:
    return rows(20_000, quick=True, cache_dir=Path(request.config.cache.mkdir("curve")))


def test_the_report_is_json_with_a_row_for_each_work(report: dict) -> None:
    assert json.loads(json.dumps(report)) == report
    assert set(report) == {"machine", "kernel", "rows"}
    assert report["kernel"] == processor.choose("auto")
    names = " ".join(row["name"] for row in report["rows"])
    for work in (
        "encrypt",
        "read points32",
        "verify one submission",
        "aggregate 5 submissions",
        "function key",
        "scalar",
    ):
        assert work in names


def test_every_row_has_times_that_agree(report: dict) -> None:
    for row in report["rows"]:
        assert row["nsPerItem"] > 0
        assert row["itemsPerSecond"] == pytest.approx(1e9 / row["nsPerItem"], rel=0.01)
        assert row["limit"] is None or row["limit"] < row["nsPerItem"]


def test_each_kernel_is_compared_with_libsecp256k1(report: dict) -> None:
    compared = [row for row in report["rows"] if "coincurve" in row["vs"]]
    assert len(compared) >= 4
    assert all(row["vs"]["coincurve"] > 1 for row in compared if row["name"].startswith("encrypt"))


def test_the_table_for_people_names_rivals_and_the_limit() -> None:
    table = text([Row(name="encrypt, ifma", n=10, ns=400.0, limit=200.0, vs={"coincurve": 90.0})])
    assert "encrypt, ifma" in table
    assert "2.00" in table
    assert "coincurve 90.0x" in table


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from bench.picture import draw

    draw([Row(name="encrypt", n=10, ns=400.0, vs={"coincurve": 90.0, "tenseal": 3.0})], tmp_path / "bench.svg")
    assert "<svg" in (tmp_path / "bench.svg").read_text()
