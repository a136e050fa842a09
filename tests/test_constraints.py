"""What pip installs is what was tested: every package of every extra is pinned, and those that they bring with them."""

import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LINES = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
PINS = {canonicalize_name(name): Version(version) for name, _, version in (line.partition("==") for line in LINES)}
#: pip freeze leaves it out: every environment has its own.
OF_THE_ENVIRONMENT = {"setuptools"}
EXTRAS: dict[str, list[str]] = {"": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}


def brought(one: Requirement) -> list[Requirement]:
    """What a package that is installed here asks for, under the extras that are asked of it."""
    try:
        stated = [Requirement(text) for text in requires(one.name) or []]
    except PackageNotFoundError:
        return []
    extras = one.extras or {""}
    return [
        each for each in stated if each.marker is None or any(each.marker.evaluate({"extra": name}) for name in extras)
    ]


def closure(texts: list[str]) -> dict[str, Requirement]:
    found: dict[str, Requirement] = {}
    waiting = [Requirement(text) for text in texts]
    while waiting:
        one = waiting.pop()
        key = f"{canonicalize_name(one.name)}{sorted(one.extras)}"
        if canonicalize_name(one.name) != PROJECT["name"] and key not in found:
            found[key] = one
            waiting += brought(one)
    return found


@pytest.mark.parametrize("extra", EXTRAS)
def test_every_package_of_an_extra_is_pinned(extra: str) -> None:
    found = {canonicalize_name(one.name) for one in closure(EXTRAS[extra]).values()}
    assert found - set(PINS) - OF_THE_ENVIRONMENT == set()


@pytest.mark.parametrize("extra", EXTRAS)
def test_every_pin_is_one_that_the_extra_allows(extra: str) -> None:
    stated = [Requirement(text) for text in EXTRAS[extra] if not text.startswith(PROJECT["name"])]
    assert [str(one) for one in stated if PINS[canonicalize_name(one.name)] not in one.specifier] == []


def test_every_line_pins_one_version_once() -> None:
    assert all(len(line.split("==")) == 2 for line in LINES)
    names = [line.partition("==")[0] for line in LINES]
    assert len(PINS) == len(names)
