"""What several test rooms share: homes in a temporary folder, and no settings of the desk's own."""

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import structlog

from pipeline import settings
from pipeline.parties import route

# Tests run on every core already: a numeric library's own threads would only get into each other's way.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# How long an example takes is the machine's affair: no test asserts an absolute time.
hypothesis.settings.register_profile("flfleet", deadline=None)
hypothesis.settings.load_profile("flfleet")


@pytest.fixture(autouse=True, scope="session")
def _a_home_for_what_outlives_a_test(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A module's worker begins before its tests' homes are there; without this its heartbeat would lie in the working directory."""
    os.environ["FLFLEET_HOME"] = str(tmp_path_factory.mktemp("session") / "home")
    settings.current.cache_clear()


@pytest.fixture(autouse=True)
def _no_settings_of_the_desk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("FLFLEET_") and not name.startswith("FLFLEET_TEST_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("FLFLEET_HOME", str(tmp_path / "home"))
    settings.current.cache_clear()
    route._of_this_process.cache_clear()
    monkeypatch.setattr(route, "_chosen", None)


@pytest.fixture(autouse=True)
def _no_logging_of_another_test() -> Iterator[None]:
    """What a command or a worker sets for its process would hold for the tests after it."""
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
