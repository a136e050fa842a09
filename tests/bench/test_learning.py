import json
from pathlib import Path

import pytest

from bench import learning, learning_report
from bench.learning import Case, Measured, cases, measure
from bench.learning_cases import PLANS, WORKLOADS
from bench.learning_picture import draw
from bench.learning_rules import Round
from pipeline.curve.select import kernel
from pipeline.errors import Misconfigured


def made(rule: str, accuracies: list[float], seed: int = 0, *, ratio: float | None = None) -> Measured:
    plan = next((plan for plan in PLANS if plan.ratio == ratio), None)
    case = Case(workload=WORKLOADS["mlp"], miners=5, skewed=False, seed=seed, rule=rule, plan=plan)
    return Measured(case=case, rounds=[Round(accuracy=each, bytes_sent=100) for each in accuracies])


def test_every_federation_is_measured_under_every_rule() -> None:
    wanted = list(cases(["tumours"], 2, with_flower=True))
    assert len({(case.group, case.seed, case.label) for case in wanted}) == len(wanted) == 2 * 4 * (1 + 1 + 4 + 3)
    assert all(case.rule != "flwr" for case in cases(["tumours"], 1, with_flower=False))


def test_what_is_measured_is_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(workload=WORKLOADS["tumours"], miners=5, skewed=False, seed=0, rule="topk", plan=PLANS[1])

    def once() -> list[Measured]:
        return measure([case], tmp_path, kernel("reference"), every=False, flower_python=None, say=lambda _line: None)

    first = once()
    monkeypatch.setattr(learning, "_rounds", lambda *_arguments, **_options: pytest.fail("measured again"))
    assert once() == first
    assert len(first[0].rounds) == PLANS[1].rounds


def test_other_settings_are_another_measurement() -> None:
    case = Case(workload=WORKLOADS["mlp"], miners=5, skewed=False, seed=0, rule="ours", plan=PLANS[1])
    assert case.settings(every=True) != case.settings(every=False)


def test_the_table_compares_with_dense_after_as_many_rounds_seed_by_seed() -> None:
    found = [
        made("dense", [0.5, 0.9, 0.99], 0),
        made("dense", [0.5, 0.8, 0.99], 1),
        made("ours", [0.4, 0.896], 0, ratio=0.1),
        made("ours", [0.4, 0.792], 1, ratio=0.1),
    ]
    line = learning_report.lines(found)[1]
    assert (line.rule, line.rounds, line.seeds) == ("ours 0.1", 2, 2)
    assert line.below == pytest.approx(0.6)
    assert line.error == pytest.approx(0.2)
    assert line.misses
    assert "0.5: missed" in learning_report.text([line])
    assert not learning_report.as_json([line], found)["ok"]


def test_the_documents_table_is_replaced_and_its_words_stay() -> None:
    old = learning_report.lines([made("dense", [0.1])])
    new = learning_report.lines([made("dense", [0.9]), made("ours", [0.8], ratio=0.1)])
    document = f"# Accuracy\n\n{learning_report.text(old)}\n\n## How to read it\n"
    assert learning_report.renewed(document, new) == f"# Accuracy\n\n{learning_report.text(new)}\n\n## How to read it\n"
    with pytest.raises(Misconfigured):
        learning_report.renewed("no table", new)


def test_the_pages_table_is_one_that_the_bench_can_renew() -> None:
    page = Path("docs/accuracy.md").read_text()
    assert learning_report.renewed(page, []).count("\n") < page.count("\n") - 50


def test_a_rival_has_no_target_to_miss() -> None:
    found = [made("dense", [0.9]), made("topk", [0.1], ratio=0.01)]
    assert not any(line.misses for line in learning_report.lines(found))


def test_the_picture_is_the_same_from_the_same_numbers(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    found = [made("dense", [0.8, 0.9]), made("ours", [0.7, 0.85], ratio=0.1)]
    for name in ("one.svg", "two.svg"):
        draw(found, tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    assert json.dumps("ours 0.1")[1:-1] in (tmp_path / "one.svg").read_text()
