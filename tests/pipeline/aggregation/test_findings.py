import pytest

from pipeline.aggregation.findings import Findings
from pipeline.errors import BadSignature, Malformed, Rejected


def test_nothing_found_raises_nothing():
    findings = Findings()
    findings.require(True, "not said")
    with findings.gather():
        pass
    findings.raise_any()


def test_findings_of_one_kind_keep_it_and_all_their_reasons():
    findings = Findings()
    for index in range(2):
        with findings.gather(f"part {index}: "):
            raise Malformed("one", "two")
    with pytest.raises(Malformed) as refusal:
        findings.raise_any()
    assert refusal.value.reasons == ("part 0: one", "part 0: two", "part 1: one", "part 1: two")


def test_findings_of_several_kinds_are_rejected():
    findings = Findings()
    findings.require(False, "a signature", BadSignature)
    findings.require(False, "something else")
    with pytest.raises(Rejected, match="a signature; something else") as refusal:
        findings.raise_any()
    assert type(refusal.value) is Rejected


def test_an_error_that_is_no_refusal_is_not_swallowed():
    findings = Findings()
    with pytest.raises(ZeroDivisionError), findings.gather():
        _ = 1 // 0
