import pytest

from pipeline.errors import Misconfigured
from pipeline.learning.data.faults import EveryFault, Faults


def test_a_training_stops_at_the_first_fault():
    with pytest.raises(Misconfigured, match=r"a.png is torn"):
        Faults().tell("a.png is torn")


def test_a_check_keeps_each_fault_once_and_counts_what_is_beyond_its_bound():
    faults = EveryFault(most=2)
    for name in ("a", "b", "a", "c", "d", "c"):
        faults.tell(f"{name} is torn")
    assert faults.reasons == ["a is torn", "b is torn"]
    assert faults.more == 2


def test_what_is_raised_within_is_told_and_the_check_goes_on():
    faults = EveryFault()
    with faults.told():
        raise Misconfigured("a is torn")
    assert faults.reasons == ["a is torn"]
    with pytest.raises(Misconfigured), Faults().told():
        raise Misconfigured("a is torn")
