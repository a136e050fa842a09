import pytest

from pipeline.curve.fast.babies import BABIES
from pipeline.curve.logarithm import LARGEST
from pipeline.curve.select import KERNELS, kernel_name
from pipeline.errors import Misconfigured
from pipeline.nddfe.pack_choice import COSTS, choose_pack, pack_costs
from pipeline.protocol.task import MAX_PACKED


@pytest.mark.parametrize(("miners", "level", "pack"), [(3, 3, 6), (5, 3, 6), (20, 3, 4), (5, 15, 4), (1000, 3, 3)])
def test_the_cheapest_pack_by_roster_and_level(miners: int, level: int, pack: int) -> None:
    chosen = choose_pack(miners, level, "ifma")
    assert chosen is not None
    assert chosen.pack == pack


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("miners", [3, 5, 10, 20, 50, 200, 1000])
@pytest.mark.parametrize("level", [1, 3, 15, 50])
def test_the_next_larger_pack_costs_more_by_its_logarithm_than_it_saves_by_its_points(
    miners: int, level: int, kernel: str
) -> None:
    costs = {cost.pack: cost for cost in pack_costs(miners, level, kernel)}
    chosen = choose_pack(miners, level, kernel)
    assert chosen is not None
    smaller, larger = costs.get(chosen.pack - 1), costs.get(chosen.pack + 1)
    if smaller is not None:
        assert chosen.logarithm - smaller.logarithm <= smaller.points - chosen.points
    if larger is not None:
        assert larger.logarithm - chosen.logarithm > chosen.points - larger.points


def test_a_kernel_that_is_slow_at_points_packs_more_into_each() -> None:
    chosen = {name: choose_pack(5, 7, name) for name in ("ifma", "scalar")}
    assert {name: cost and cost.pack for name, cost in chosen.items()} == {"ifma": 4, "scalar": 5}


def test_every_kernel_has_constants_with_the_table_that_it_makes() -> None:
    assert set(COSTS) == set(KERNELS)
    assert COSTS["ifma"].babies == COSTS["scalar"].babies == BABIES
    assert COSTS["reference"].babies == LARGEST


def test_the_settings_kernel_is_named_without_being_made() -> None:
    assert kernel_name("auto") in KERNELS
    assert kernel_name("reference") == "reference"
    assert kernel_name("scalar") == "scalar"
    with pytest.raises(Misconfigured):
        kernel_name("fastest")


def test_only_packs_that_the_protocol_allows_are_looked_at() -> None:
    assert [cost.pack for cost in pack_costs(5, 3, "ifma")] == list(range(1, 9))
    assert 31**8 <= MAX_PACKED < 31**9


def test_a_base_beyond_the_protocols_limit_leaves_no_pack() -> None:
    assert choose_pack(1000, 2**30, "ifma") is None
