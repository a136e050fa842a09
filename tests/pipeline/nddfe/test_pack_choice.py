import pytest

from pipeline.nddfe.pack_choice import choose_pack, pack_costs
from pipeline.protocol.task import MAX_PACKED


@pytest.mark.parametrize(("miners", "level", "pack"), [(3, 3, 7), (5, 3, 6), (20, 3, 4), (5, 15, 4), (1000, 3, 3)])
def test_the_cheapest_pack_by_roster_and_level(miners: int, level: int, pack: int) -> None:
    chosen = choose_pack(miners, level)
    assert chosen is not None
    assert chosen.pack == pack


@pytest.mark.parametrize("miners", [3, 5, 10, 20, 50, 200, 1000])
@pytest.mark.parametrize("level", [1, 3, 15, 50])
def test_the_next_larger_pack_costs_more_by_its_logarithm_than_it_saves_by_its_points(miners: int, level: int) -> None:
    costs, chosen = {cost.pack: cost for cost in pack_costs(miners, level)}, choose_pack(miners, level)
    assert chosen is not None
    smaller, larger = costs.get(chosen.pack - 1), costs.get(chosen.pack + 1)
    if smaller is not None:
        assert chosen.logarithm - smaller.logarithm <= smaller.points - chosen.points
    if larger is not None:
        assert larger.logarithm - chosen.logarithm > chosen.points - larger.points


def test_only_packs_that_the_protocol_allows_are_looked_at() -> None:
    assert [cost.pack for cost in pack_costs(5, 3)] == list(range(1, 9))
    assert 31**8 <= MAX_PACKED < 31**9


def test_a_base_beyond_the_protocols_limit_leaves_no_pack() -> None:
    assert choose_pack(1000, 2**30) is None
