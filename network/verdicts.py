"""The aggregator's service for participants' word on a block: votes, reveals, the settlement (docs/protocol.md, section 8)."""

import json
import time
from collections.abc import Sequence
from typing import Annotated

from fastapi import FastAPI, Request, Response
from fastapi import Path as PathParameter
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from network.answers import NotFound, body, check_name, json_text, utf8
from network.waiting import hint
from pipeline.aggregation.aggregator.context import AggregatorDesk
from pipeline.aggregation.voting import check_reveal, reveals_close, votes_close
from pipeline.errors import Rejected
from pipeline.protocol.block import Block
from pipeline.protocol.reveal import MAX_REVEAL_BYTES, Reveal
from pipeline.protocol.signing import SecretKey
from pipeline.protocol.vote import MAX_VOTE_BYTES, Vote
from pipeline.stores.aggregator.rounds import VERIFIED, Round
from pipeline.stores.aggregator.submissions import Closed
from tasks import aggregation

Hash = Annotated[str, PathParameter(pattern="^0x[0-9a-f]{64}$")]


class Verdicts:
    """Votes in, settlements out."""

    def __init__(self, desk: AggregatorDesk) -> None:
        self._desk = desk

    async def vote(self, block_hash: Hash, request: Request) -> Response:
        """202 for a participant's vote, and for the same again; 409 for another one, which is kept; 410 when time is up."""
        vote = Vote.decode(utf8(await body(request, MAX_VOTE_BYTES)))
        return await run_in_threadpool(self._vote, block_hash, vote)

    def votes(self, block_hash: Hash) -> Response:
        """Every vote that counts, as it was signed, in order of arrival."""
        return _listed(self._desk.verdicts.votes(self._block(block_hash).row.block_hash))

    def conflicting(self, block_hash: Hash) -> Response:
        """Second votes of miners that had voted already: they don't count, and each proves a lie."""
        return _listed(self._desk.verdicts.votes(self._block(block_hash).row.block_hash, conflicting=True))

    async def reveal(self, task_id: str, number: int, request: Request) -> Response:
        """202 with a receipt for a participant's opening of its commitment; the same again: the same receipt; another: 409."""
        opened = Reveal.decode(utf8(await body(request, MAX_REVEAL_BYTES)))
        return await run_in_threadpool(self._reveal, task_id, number, opened)

    def settlement(self, task_id: str, number: int) -> Response:
        """The signed settlement, once all have revealed or time is up."""
        self._round(task_id, number)
        found = self._desk.verdicts.settlement(task_id, number)
        if found is None:
            raise NotFound(f"round {number} of {task_id} is not settled yet")
        return json_text(found.encode().decode())

    def signed_task(self, task_id: str, number: int) -> Response:
        """The publisher's signed task of a round, as it came: who checks an old block needs it."""
        return json_text(self._round(task_id, number).row.document)

    def _vote(self, block_hash: str, vote: Vote) -> Response:
        found = self._block(block_hash)
        block = Block.decode(found.row.block.encode())
        vote.check(block)
        now, verdicts = int(time.time()), self._desk.verdicts
        if now >= votes_close(block, found.task.timeout) and vote not in verdicts.votes(block_hash):
            raise Closed(
                f"closed: votes on block {block_hash} were taken until {votes_close(block, found.task.timeout)}"
            )
        verdicts.cast(vote, now)
        hint(lambda: aggregation.close_round.apply_async((found.row.task_id, found.row.round), retry=False))
        return JSONResponse({"blockHash": block_hash, "votes": len(verdicts.votes(block_hash))}, status_code=202)

    def _reveal(self, task_id: str, number: int, opened: Reveal) -> Response:
        found = self._round(task_id, number)
        if found.state not in VERIFIED:
            raise Rejected(
                f"reveal: round {number} of {task_id} is {found.status}; a score is revealed once it is published"
            )
        block = Block.decode(found.row.block.encode())
        check_reveal(found.task, block, found.row.coordinates, opened)
        now, verdicts = int(time.time()), self._desk.verdicts
        if now >= reveals_close(block, found.task.timeout) and opened not in verdicts.reveals(task_id, number):
            raise Closed(f"closed: the time for reveals of round {number} of {task_id} is over")
        received_at = verdicts.reveal(opened, now)
        hint(lambda: aggregation.settle.apply_async(retry=False))
        return reveal_receipt(opened, received_at, self._desk.key)

    def _block(self, block_hash: str) -> Round:
        found = self._desk.rounds.by_block(block_hash)
        if found is None:
            raise NotFound(f"no block {block_hash}")
        return found

    def _round(self, task_id: str, number: int) -> Round:
        check_name(task_id, number)
        found = self._desk.rounds.find(task_id, number)
        if found is None:
            raise NotFound(f"unknown task: round {number} of {task_id!r} is not at this aggregator")
        return found


def reveal_receipt(opened: Reveal, received_at: int, key: SecretKey) -> Response:
    """202 {`revealHash`, `receivedAt`, `signature` of kind `receipt`}."""
    document = {"revealHash": opened.reveal_hash, "receivedAt": received_at}
    return JSONResponse(document | {"signature": key.sign("receipt", document)}, status_code=202)


def add_routes(app: FastAPI, verdicts: Verdicts) -> None:
    """The routes of section 8."""
    block, number = "/aggregator/blocks/{block_hash}", "/aggregator/tasks/{task_id}/rounds/{number}"
    app.add_api_route(f"{block}/votes", verdicts.vote, methods=["POST"])
    app.add_api_route(f"{block}/votes", verdicts.votes, methods=["GET"])
    app.add_api_route(f"{block}/votes/conflicting", verdicts.conflicting, methods=["GET"])
    app.add_api_route(f"{number}/reveal", verdicts.reveal, methods=["POST"])
    app.add_api_route(f"{number}/settlement", verdicts.settlement, methods=["GET"])
    app.add_api_route(f"{number}/task", verdicts.signed_task, methods=["GET"])


def _listed(votes: Sequence[Vote]) -> Response:
    return json_text(json.dumps([vote.envelope for vote in votes]))
