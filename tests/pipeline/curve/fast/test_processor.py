from collections.abc import Iterator

import pytest
from numba.core import config

from pipeline.curve.fast import processor
from pipeline.errors import Misconfigured


@pytest.fixture(autouse=True)
def _asked_again() -> Iterator[None]:
    processor.features.cache_clear()
    yield
    processor.features.cache_clear()


def test_auto_follows_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    for has, name in ((True, "ifma"), (False, "scalar")):
        monkeypatch.setattr(processor, "has_ifma", lambda has=has: has)
        assert processor.choose("auto") == name


def test_a_forced_scalar_kernel_is_taken_anywhere() -> None:
    assert processor.choose("scalar") == "scalar"


def test_numba_told_to_compile_for_another_processor_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "CPU_NAME", "generic")
    assert not processor.has_ifma()
    with pytest.raises(Misconfigured, match="avx512ifma"):
        processor.choose("ifma")


def test_another_machine_has_no_avx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor.platform, "machine", lambda: "aarch64")
    assert processor.choose("auto") == "scalar"


def test_the_description_names_what_code_depends_on() -> None:
    assert processor.platform.machine() in processor.description()
    assert processor.name()
