"""The broker that a bench has for itself."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cli.broker import embedded_broker
from pipeline.settings import current, load
from tasks.app import app


@contextmanager
def own_broker(home: Path) -> Iterator[None]:
    """An embedded broker over `home`, to which this process's app and settings belong until the block ends."""
    broker = embedded_broker(home)
    with (home / "broker.log").open("w") as log:
        server = subprocess.Popen(broker.command, stdout=log, stderr=log)
    # They were read before the home was made.
    app.conf.update(broker_url=load(home).broker)
    current.cache_clear()
    try:
        yield
    finally:
        server.terminate()
        server.wait()
