import pytest

from cli.round_plan import parse_pack, parse_plan, plan_text, task_ratios
from pipeline.errors import Misconfigured


@pytest.mark.parametrize(
    ("text", "shares"),
    [
        ("1.0, then 0.1", [1, 0.1]),
        ("1.0, 0.3, then 0.1", [1, 0.3, 0.1]),
        ("1,0.3,.1", [1, 0.3, 0.1]),
        ("1.0", [1]),
    ],
)
def test_a_plan_is_a_share_for_each_round(text: str, shares: list[float]) -> None:
    assert parse_plan(text) == shares
    assert parse_plan(plan_text(shares)) == shares


@pytest.mark.parametrize(
    "text", ["", "0.1", "0.1, then 1.0", "1.0, then", "1.0, then 0", "1.0, then nan", "1.0, -0.1", "then"]
)
def test_what_is_no_plan_is_refused_with_how_to_write_one(text: str) -> None:
    with pytest.raises(Misconfigured, match=r"1\.0, then 0\.1"):
        parse_plan(text)


def test_a_plan_of_more_rounds_than_anyone_types_is_refused() -> None:
    with pytest.raises(Misconfigured, match="at most 100"):
        parse_plan(",".join(["1"] * 101))


def test_a_tasks_ratio_is_the_share_of_the_round_after_it() -> None:
    assert task_ratios([1, 0.3, 0.1]) == [0.3, 0.1]
    assert task_ratios([1]) == [1]


def test_a_pack_is_auto_or_a_number() -> None:
    assert parse_pack("auto") is None
    assert parse_pack("5") == 5
    for text in ("0", "41", "-1", "five"):
        with pytest.raises(Misconfigured, match="expected auto or a number"):
            parse_pack(text)
