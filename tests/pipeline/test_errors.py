import pytest

from pipeline.errors import BadProof, BadSignature, Corrupt, FleetError, Malformed, Misconfigured, Rejected, Retryable


@pytest.mark.parametrize("kind", [Malformed, BadSignature, BadProof])
def test_every_refusal_is_rejected_and_keeps_each_reason(kind):
    error = kind("one", "two")
    assert isinstance(error, Rejected)
    assert tuple(error.reasons) == ("one", "two")
    assert str(error) == "one; two"


def test_who_has_to_act_is_never_two_at_once():
    kinds = [Retryable, Rejected, Misconfigured, Corrupt]
    for kind in kinds:
        assert issubclass(kind, FleetError)
        assert not any(issubclass(kind, other) for other in kinds if other is not kind)


def test_a_retryable_error_carries_the_other_sides_wish():
    assert Retryable("busy", retry_after=2.5).retry_after == 2.5
    assert Retryable("busy").retry_after is None
