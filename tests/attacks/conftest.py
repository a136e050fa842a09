from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.attacks.scene import Scene
from tests.federation import Federation
from tests.federation import federation as federation
from tests.memory_broker import memory_broker as memory_broker


@pytest.fixture
def scene(federation: Federation) -> Iterator[Scene]:
    with ExitStack() as stack:
        one = Scene(federation, stack)
        yield one
        one.end()
