"""The backend: an untrusted task board and file host. Nobody believes it anything; it only spares itself what is unsigned."""

import hashlib
import tempfile
import time
from pathlib import Path
from typing import Annotated

from fastapi import FastAPI, Request, Response
from fastapi import Path as PathParameter
from fastapi.responses import FileResponse
from starlette.concurrency import run_in_threadpool

from network.answers import Forbidden, NotFound, body, chunks, json_text, refused, service, utf8
from pipeline.errors import BadSignature, Corrupt
from pipeline.protocol.signing import signer_of
from pipeline.protocol.task import MAX_TASK_BYTES, Task
from pipeline.settings import Settings, current
from pipeline.stores.artifacts import ArtifactStore
from pipeline.stores.backend.tasks import Board
from pipeline.stores.db.engine import open_database

Digest = Annotated[str, PathParameter(pattern="^[0-9a-f]{64}$", description="SHA-256 of the file")]


class Backend:
    """Tasks and model files."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._scratch = settings.cache / "scratch"
        self._scratch.mkdir(parents=True, exist_ok=True)
        self._board = Board(open_database(settings.ledger))
        self._artifacts = ArtifactStore(settings.artifacts, self._scratch)

    def open_tasks(self) -> Response:
        """The newest round of each task, where its deadline is not over."""
        return json_text(f"[{','.join(self._board.open_tasks(int(time.time())))}]")

    def task(self, task_id: str) -> Response:
        """The newest round of one task."""
        text = self._board.newest(task_id)
        if text is None:
            raise NotFound(f"no task {task_id[:64]!r}")
        return json_text(text)

    async def post_task(self, request: Request) -> Response:
        """Takes a task that a trusted publisher signed. 201, or 200 for the same again."""
        text = utf8(await body(request, MAX_TASK_BYTES))
        task = Task.decode(text)
        task.check_signature()
        if task.publisher_address not in self._settings.trusted_publishers:
            raise Forbidden(f"publisher {task.publisher_address} is not in this backend's FLFLEET_TRUSTED_PUBLISHERS")
        is_new = await run_in_threadpool(self._board.post, task, text)
        return json_text(f'{{"taskHash":"{task.task_hash}"}}', 201 if is_new else 200)

    def model(self, digest: Digest) -> Response:
        """A model file."""
        try:
            path = self._artifacts.path(digest)
        except Corrupt as error:
            raise NotFound(f"no such model: {error}") from None
        return FileResponse(path, media_type="application/octet-stream")

    async def put_model(self, digest: Digest, request: Request) -> Response:
        """Takes a model file whose SHA-256 a trusted publisher or aggregator signed; streamed to the disk."""
        self._check_uploader(digest, request.headers.get("X-Signature"))
        if await run_in_threadpool(self._holds, digest):
            return json_text("{}")
        with tempfile.NamedTemporaryFile(dir=self._scratch, suffix=".model") as file:
            found = hashlib.sha256()
            async for chunk in chunks(request, self._settings.max_model_bytes):
                found.update(chunk)
                file.write(chunk)
            file.flush()
            if found.hexdigest() != digest:
                return refused(422, f"the body's SHA-256 is {found.hexdigest()}, the address says {digest}")
            await run_in_threadpool(self._artifacts.put_file, Path(file.name), durable=True)
        return json_text("{}", 201)

    def _holds(self, digest: str) -> bool:
        """Whether the file is there and whole; a damaged one may be put again."""
        try:
            self._artifacts.path(digest)
        except Corrupt:
            return False
        return True

    def _check_uploader(self, digest: str, signature: str | None) -> None:
        if signature is None:
            raise Forbidden('X-Signature is missing: a signature of kind "model" over {"modelSHA256": "0x.."}')
        try:
            signer = signer_of("model", {"modelSHA256": "0x" + digest}, signature)
        except BadSignature as error:
            raise Forbidden(str(error)) from None
        if signer not in (*self._settings.trusted_publishers, *self._settings.trusted_aggregators):
            raise Forbidden(
                f"{signer} is in neither FLFLEET_TRUSTED_PUBLISHERS nor FLFLEET_TRUSTED_AGGREGATORS of this backend"
            )


def create_app() -> FastAPI:
    """The service, by this process's settings."""
    backend, app = Backend(current()), service("flfleet backend")
    app.add_api_route("/tasks/open", backend.open_tasks, methods=["GET"])
    app.add_api_route("/tasks/{task_id}", backend.task, methods=["GET"])
    app.add_api_route("/tasks", backend.post_task, methods=["POST"])
    app.add_api_route("/models/{digest}", backend.model, methods=["GET", "HEAD"])
    app.add_api_route("/models/{digest}", backend.put_model, methods=["PUT"])
    return app
