"""The aggregator's service: submissions (docs/protocol.md, section 5), tasks (7), blocks (8) and a page for a person.

A handler decodes, authenticates and stores; verifying and adding up are work for the queue `aggregate`.
"""

import time
from hashlib import sha256
from typing import Annotated

from fastapi import FastAPI, Request, Response
from fastapi import Path as PathParameter
from fastapi.responses import FileResponse, JSONResponse
from starlette.concurrency import run_in_threadpool

from network.answers import (
    JSON,
    MSGPACK,
    NotFound,
    TooLarge,
    ask_again,
    body_into,
    check_name,
    in_parts,
    json_text,
    refused,
    service,
)
from network.page import Page
from network.round_view import task_state
from network.site import static
from network.verdicts import Verdicts, add_routes
from network.waiting import answer_of, hint
from pipeline.aggregation.aggregator.context import AggregatorDesk, open_desk
from pipeline.aggregation.aggregator.verification import body_of
from pipeline.aggregation.collect import check_header
from pipeline.protocol.file_bytes import FileBytes, pieces
from pipeline.protocol.submission import Submission, max_bytes
from pipeline.settings import current
from pipeline.stores.aggregator.rounds import Round, RoundState
from pipeline.stores.aggregator.submissions import Arrival, Closed, Stored, Verdict
from tasks import aggregation

Hash = Annotated[str, PathParameter(pattern="^0x[0-9a-f]{64}$")]
#: What is read where no round is open: enough to say why.
_LEAST_BYTES = 65536


class Aggregator:
    """Submissions in, tasks and blocks out."""

    def __init__(self, desk: AggregatorDesk) -> None:
        self._desk = desk

    async def submit_update(self, request: Request) -> Response:
        """202 with the receipt; 409, 410, 413; 422 with every reason; 503 while it is verified: send the same again."""
        received_at = int(time.time())
        content_type = request.headers.get("content-type", MSGPACK).split(";")[0].strip().lower()
        most = await run_in_threadpool(self._most_bytes, content_type)
        with self._desk.artifacts.temporary() as file:
            data = await body_into(file, request, most)
            stored = await run_in_threadpool(self._take, data, content_type, received_at)
        if stored.state is Verdict.PENDING:
            await run_in_threadpool(hint, lambda: aggregation.verify.apply_async((stored.id,), retry=False))
        verdict = await answer_of(lambda: self._verdict(stored.id))
        if verdict is None:
            return ask_again("the submission is being verified; send the same bytes again")
        if verdict.state is Verdict.ACCEPTED and verdict.receipt is not None:
            return json_text(verdict.receipt, 202)
        return refused(verdict.status or 422, *verdict.reasons, submissionHash=verdict.header.submission_hash)

    def tasks(self) -> Response:
        """Every task's state."""
        by_task: dict[str, list[Round]] = {}
        for found in self._desk.rounds.all():
            by_task.setdefault(found.row.task_id, []).append(found)
        return JSONResponse([task_state(rounds) for rounds in by_task.values()])

    def task(self, task_id: str) -> Response:
        """One task's state and the rounds that are over."""
        check_name(task_id, 1)
        rounds = self._desk.rounds.all(task_id)
        if not rounds:
            raise NotFound(f"unknown task: {task_id!r} is not at this aggregator")
        return JSONResponse(task_state(rounds))

    def block(self, block_hash: Hash) -> Response:
        """A block, as it was signed."""
        return json_text(self._block(block_hash).row.block)

    def audit(self, block_hash: Hash) -> Response:
        """What lets anyone check a block's sum."""
        return FileResponse(self._desk.artifacts.path(self._block(block_hash).row.audit), media_type=MSGPACK)

    def submission(self, submission_hash: Hash) -> Response:
        """A submission as it came; nobody is shown one before the key request is sent."""
        stored = self._desk.submissions.accepted_by_hash(submission_hash)
        found = None if stored is None else self._desk.rounds.find(stored.task_id, stored.round)
        if stored is None or found is None or found.row.key is None:
            raise NotFound(f"no submission {submission_hash} of a round whose key is issued")
        if found.is_over and not self._desk.artifacts.exists(stored.ciphertext):
            raise NotFound(f"submission {submission_hash} is not kept any more: its round's reveal is over")
        return in_parts(body_of(self._desk, stored).parts, MSGPACK)

    def _take(self, data: FileBytes, content_type: str, received_at: int) -> Stored:
        """Keeps a submission that its miner signed, or finds it again. All that costs more is the worker's."""
        submission = Submission.decode(data, content_type)
        header = submission.header
        check_name(header.task_id, header.round)
        found = self._desk.rounds.find(header.task_id, header.round)
        if found is None:
            raise NotFound(f"unknown task: round {header.round} of {header.task_id!r} is not at this aggregator")
        size, most = sum(len(part) for part in submission.parts), _round_bytes(found)
        if size > most:
            raise TooLarge(f"the submission has {size} bytes, at most {most} are taken")
        check_header(found.task, header, submission.signature)
        digest = _sha256(submission)
        known = self._desk.submissions.known(header, digest)
        if known is not None:
            return known
        if found.state is not RoundState.OPEN:
            raise Closed(f"closed: round {header.round} of {header.task_id} takes no submission any more")
        artifacts, wish = self._desk.artifacts, submission.wish
        arrival = Arrival(
            header=header,
            signature=submission.signature,
            body=digest,
            ciphertext=artifacts.put_pieces(pieces(submission.ciphertext), durable=True),
            wish=None if wish is None else artifacts.put_pieces(pieces(wish), durable=True),
            received_at=received_at,
        )
        return self._desk.submissions.receive(arrival)

    def _verdict(self, number: int) -> Stored | None:
        stored = self._desk.submissions.find(number)
        return None if stored is None or stored.state is Verdict.PENDING else stored

    def _most_bytes(self, content_type: str) -> int:
        """The bound of a body whose round is not known yet: that of the largest open round."""
        most = max((_round_bytes(found) for found in self._desk.rounds.moving()), default=_LEAST_BYTES)
        return most * 4 // 3 + 4 if content_type == JSON else most

    def _block(self, block_hash: str) -> Round:
        found = self._desk.rounds.by_block(block_hash)
        if found is None:
            raise NotFound(f"no block {block_hash}")
        return found


def _sha256(submission: Submission) -> str:
    """Of its msgpack form, whichever one it came in."""
    found = sha256()
    for piece in pieces(*submission.parts):
        found.update(piece)
    return found.hexdigest()


def _round_bytes(found: Round) -> int:
    task = found.task
    return max_bytes(task.groups(found.row.coordinates), task.dimension)


def create_app() -> FastAPI:
    """The service, by this process's settings."""
    desk = open_desk(current())
    aggregator, page, app = Aggregator(desk), Page(desk.rounds, desk.verdicts), service("flfleet aggregator")
    app.add_api_route("/aggregator/submit-update", aggregator.submit_update, methods=["POST"])
    app.add_api_route("/aggregator/tasks", aggregator.tasks, methods=["GET"])
    app.add_api_route("/aggregator/tasks/{task_id}", aggregator.task, methods=["GET"])
    app.add_api_route("/aggregator/blocks/{block_hash}", aggregator.block, methods=["GET"])
    app.add_api_route("/aggregator/blocks/{block_hash}/audit", aggregator.audit, methods=["GET"])
    app.add_api_route("/aggregator/submissions/{submission_hash}", aggregator.submission, methods=["GET"])
    add_routes(app, Verdicts(desk))
    app.add_api_route("/aggregator", page.whole, methods=["GET"])
    app.add_api_route("/aggregator/panel", page.panel, methods=["GET"])
    app.add_api_route("/aggregator/static/{name}", static, methods=["GET"])
    return app
