"""Bodies go from file to socket to file: what a service and its client allocate does not grow with them."""

import os
from pathlib import Path

import pytest

from bench.compress import peak
from pipeline.aggregation.board_files import model_url, upload_model
from pipeline.parties.http import download, fetch_into
from pipeline.stores.artifacts import ArtifactStore
from tests.federation import Federation
from tests.signed_tasks import PUBLISHER

#: The larger one is beyond every buffer between here and there, and so is the smaller one.
SMALL, LARGE = 4 * 2**20, 24 * 2**20
#: How full the buffers of the two sides get is chance. A body that is held once more would be 20 MiB.
MARGIN = 2.0


@pytest.fixture
def sizes(federation: Federation):
    """Peaks of an upload, a download to a path and one to an open file, for a small model and a large one."""
    store, settings = federation.publisher.artifacts, federation.publisher.settings
    with federation.serving("backend"):
        upload_model(store, store.put(os.urandom(1000)), PUBLISHER, settings)  # loads what a process loads once
        yield [_peaks(store, settings, federation.folder / str(size), size) for size in (SMALL, LARGE)]


def _peaks(store: ArtifactStore, settings, path: Path, size: int) -> tuple[int, int, int]:
    digest = store.put(os.urandom(size))
    url = model_url(settings, digest)

    def fetch() -> None:
        with store.temporary() as file:
            assert len(fetch_into(file, url, max_bytes=size, timeout=30)) == size

    up = peak(lambda: upload_model(store, digest, PUBLISHER, settings))
    down = peak(lambda: download(url, path, max_bytes=size, timeout=30))
    assert path.stat().st_size == size
    return up, down, peak(fetch)


def test_a_large_body_takes_what_a_small_one_takes_on_both_sides(sizes) -> None:
    small, large = sizes
    assert all(more < MARGIN * less for less, more in zip(small, large, strict=True)), sizes
