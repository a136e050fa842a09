"""What a failing disk does to a model that many runs share."""

from pathlib import Path

import pytest

from pipeline.aggregation.board_files import keep_model
from pipeline.protocol.encodings import sha256, to_hex
from pipeline.protocol.task import Task
from pipeline.settings import load
from pipeline.stages.fetch import fetch_model
from pipeline.stores.artifacts import ArtifactStore
from tests.federation import ARCHITECTURE, DIMENSION, initial_model
from tests.scripted_server import Script, serving
from tests.signed_tasks import document


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore((tmp_path / "artifacts").as_uri(), tmp_path / "scratch")


def task_at(url: str) -> Task:
    model = initial_model()
    architecture = {"name": ARCHITECTURE.name, "kwargs": ARCHITECTURE.kwargs}
    changes = {"dimension": DIMENSION, "architecture": architecture, "modelSHA256": to_hex(sha256(model))}
    return Task.from_document(document(modelURL=f"{url}/models/m", **changes))


def damage(store_folder: Path, digest: str) -> None:
    path = store_folder / digest[:2] / digest
    path.write_bytes(path.read_bytes()[:-1])


def test_a_damaged_model_is_fetched_again(store: ArtifactStore, tmp_path: Path) -> None:
    with serving(Script(answers=[(200, initial_model(), {})])) as backend:
        task = task_at(backend.url)
        digest = fetch_model(task, store, load(tmp_path))
        damage(tmp_path / "artifacts", digest)
        assert fetch_model(task, store, load(tmp_path)) == digest
        assert len(backend.requests) == 2
    assert store.is_whole(digest)


def test_a_whole_model_is_fetched_once(store: ArtifactStore, tmp_path: Path) -> None:
    with serving(Script(answers=[(200, initial_model(), {})])) as backend:
        for _ in range(3):
            fetch_model(task_at(backend.url), store, load(tmp_path))
        assert len(backend.requests) == 1


def test_an_aggregator_too_fetches_a_damaged_model_again(store: ArtifactStore, tmp_path: Path) -> None:
    with serving(Script(answers=[(200, initial_model(), {})])) as backend:
        task = task_at(backend.url)
        digest = keep_model(task, store, load(tmp_path))
        damage(tmp_path / "artifacts", digest)
        assert keep_model(task, store, load(tmp_path)) == digest
    assert store.is_whole(digest)
