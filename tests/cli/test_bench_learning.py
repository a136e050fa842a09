from pathlib import Path

import pytest

from bench import learning
from cli.bench_learning import run_learning
from pipeline.errors import Misconfigured


def run(tmp_path: Path, *, workloads: list[str], plot: str | None = None, table: str | None = None) -> bool:
    return run_learning(
        workloads,
        1,
        tmp_path / "results",
        tmp_path / "home",
        every=False,
        plot=None if plot is None else tmp_path / plot,
        table=None if table is None else tmp_path / table,
        flwr=tmp_path / "flwr",
        install=False,
        as_json=True,
    )


def test_an_unknown_network_is_named_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="'resnet' is unknown; there are: mlp, cnn, tumours"):
        run(tmp_path, workloads=["resnet"])


def test_a_picture_of_no_known_kind_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"\.svg or \.png"):
        run(tmp_path, workloads=["mlp"], plot="accuracy.gif")
    assert not (tmp_path / "results").exists()


def test_a_document_without_the_table_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# Another page\n")
    with pytest.raises(Misconfigured, match=r"no table that begins with \| federation"):
        run(tmp_path, workloads=["mlp"], table="other.md")
    with pytest.raises(Misconfigured, match=r"--table .*absent.md: no such file"):
        run(tmp_path, workloads=["mlp"], table="absent.md")
    assert not (tmp_path / "results").exists()


def test_nothing_to_measure_is_no_success(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="--workloads"):
        run(tmp_path, workloads=[])


def test_flwr_is_skipped_by_name_where_it_is_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(learning, "cases", lambda *_names, with_flower: [] if not with_flower else pytest.fail("flwr"))
    run(tmp_path, workloads=["tumours"])
    assert "skipped: flwr" in capfd.readouterr().err.replace("\n", " ")
