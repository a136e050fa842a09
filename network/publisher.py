"""The publisher's service: function keys (docs/protocol.md, section 6), supports and reveals (8). The work itself is on the queue `publish`."""

import time
from typing import Annotated

from fastapi import FastAPI, Request, Response
from fastapi import Path as PathParameter
from starlette.concurrency import run_in_threadpool

from network.answers import MSGPACK, Forbidden, NotFound, ask_again, body, check_name, in_parts, refused, service, utf8
from network.verdicts import reveal_receipt
from network.waiting import answer_of, hint
from pipeline.aggregation.voting import check_reveal, reveals_close
from pipeline.errors import Rejected
from pipeline.protocol.encodings import count_bits
from pipeline.protocol.function_key import FunctionKey, KeyRequest
from pipeline.protocol.reveal import MAX_REVEAL_BYTES, Reveal
from pipeline.protocol.signing import check_signature
from pipeline.settings import Settings, current
from pipeline.stores.aggregator.submissions import Closed
from pipeline.stores.aggregator.verdicts import VerdictLedger
from pipeline.stores.artifacts import ArtifactStore
from pipeline.stores.db.engine import open_database
from pipeline.stores.keys import party_key
from pipeline.stores.publisher.issued_keys import IssuedKey, IssuedLedger, Refusal
from pipeline.stores.publisher.plans import PlanLedger
from tasks import publishing

#: A header with its signature takes some 1.5 KiB: 5,000 of them.
MAX_REQUEST_BYTES = 8 * 1024 * 1024
Hash = Annotated[str, PathParameter(pattern="^0x[0-9a-f]{64}$", description="keccak256 of the bitmap")]


class Publisher:
    """Keys and supports."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        engine = open_database(settings.ledger)
        self._plans, self._issued, self._verdicts = PlanLedger(engine), IssuedLedger(engine), VerdictLedger(engine)
        self._artifacts = ArtifactStore(settings.artifacts, settings.cache / "scratch")

    async def function_key(self, request: Request) -> Response:
        """The round's key for the aggregator's request: 200; 422 with `invalid` where masks are wrong; 409 for another one.

        503 with Retry-After while it is worked on: the same request again finds the answer.
        """
        asked = await run_in_threadpool(KeyRequest.decode, utf8(await body(request, MAX_REQUEST_BYTES)).encode())
        await run_in_threadpool(self._take, asked)
        answer: IssuedKey | Refusal | None = await answer_of(lambda: self._issued.answer(asked.request_hash))
        if answer is None:
            return ask_again("the key is being made")
        return await run_in_threadpool(self._respond, answer)

    def support(self, support_hash: Hash) -> Response:
        """The bitmap of a round's coordinates."""
        digest = self._plans.support(support_hash)
        if digest is None:
            raise NotFound(f"no support {support_hash}")
        return in_parts([self._artifacts.opened(digest)], "application/octet-stream")

    async def reveal(self, task_id: str, number: int, request: Request) -> Response:
        """202 with a receipt, as the aggregator gives one: a second pair of eyes on who revealed what."""
        opened = Reveal.decode(utf8(await body(request, MAX_REVEAL_BYTES)))
        return await run_in_threadpool(self._reveal, task_id, number, opened)

    def _reveal(self, task_id: str, number: int, opened: Reveal) -> Response:
        check_name(task_id, number)
        signed, block = self._plans.signed(task_id, number), self._verdicts.published(task_id, number)
        if signed is None or block is None:
            raise NotFound(f"this publisher has verified no block of round {number} of {task_id!r} yet")
        coordinates = signed.task.dimension
        if signed.support is not None:
            coordinates = count_bits(self._artifacts.opened(signed.support), coordinates, "support")
        check_reveal(signed.task, block, coordinates, opened)
        now = int(time.time())
        if now >= reveals_close(block, signed.task.timeout):
            raise Closed(f"closed: the time for reveals of round {number} of {task_id} is over")
        return reveal_receipt(opened, self._verdicts.reveal(opened, now), party_key(self._settings))

    def _take(self, asked: KeyRequest) -> None:
        """Checks who asks and for which task, keeps the request, wakes a worker. All that costs more is the worker's."""
        check_name(asked.task_id, asked.round)
        signed = self._plans.signed(asked.task_id, asked.round)
        if signed is None:
            raise NotFound(f"this publisher signed no round {asked.round} of {asked.task_id[:64]!r}")
        if signed.task.aggregator_address not in self._settings.trusted_aggregators:
            raise Forbidden(
                f"aggregator {signed.task.aggregator_address} is not in this publisher's FLFLEET_TRUSTED_AGGREGATORS"
            )
        check_signature(
            "key-request", asked.document, asked.signature, signed.task.aggregator_address, "the aggregator"
        )
        if asked.task_hash != signed.task.task_hash:
            raise Rejected(f"task hash: expected {signed.task.task_hash}, got {asked.task_hash}")
        self._issued.receive(asked)
        if self._issued.answer(asked.request_hash) is None:
            hint(lambda: publishing.issue_key.apply_async((asked.request_hash,), retry=False))

    def _respond(self, answer: IssuedKey | Refusal) -> Response:
        if isinstance(answer, Refusal):
            return refused(answer.status, *answer.reasons, invalid=list(answer.invalid))
        key = FunctionKey(key=self._artifacts.opened(answer.key), signature=answer.signature)
        return in_parts(key.parts, MSGPACK)


def create_app() -> FastAPI:
    """The service, by this process's settings."""
    publisher, app = Publisher(current()), service("flfleet publisher")
    app.add_api_route("/publisher/function-key", publisher.function_key, methods=["POST"])
    app.add_api_route("/publisher/tasks/{task_id}/rounds/{number}/reveal", publisher.reveal, methods=["POST"])
    app.add_api_route("/publisher/supports/{support_hash}", publisher.support, methods=["GET"])
    return app
