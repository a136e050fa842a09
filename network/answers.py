"""How every service answers: JSON, bodies read with a bound, each error of ours as one status with {error, reasons}.

TooLarge 413, NotFound 404, Forbidden 403, Closed 410, Conflict 409, other Rejected 422, Retryable 503 + Retry-After
"""

import math
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import IO

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from pipeline.errors import Malformed, Rejected, Retryable
from pipeline.protocol.file_bytes import Bytes, FileBytes, pieces
from pipeline.stores.aggregator.submissions import Closed
from pipeline.stores.db.party_ledger import Conflict

JSON, MSGPACK = "application/json", "application/msgpack"
#: Seconds after which the same request is welcome again.
RETRY_AFTER = 2
_TASK_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class TooLarge(Rejected):
    """A body beyond its bound."""


class NotFound(Rejected):
    """Nothing under that name."""


class Forbidden(Rejected):
    """Not signed by somebody who may do that."""


_STATUS: Mapping[type[Rejected], int] = {TooLarge: 413, NotFound: 404, Forbidden: 403, Closed: 410, Conflict: 409}
_NAMES = {
    403: "forbidden",
    404: "not found",
    405: "method not allowed",
    409: "conflict",
    410: "closed",
    413: "too large",
    422: "refused",
}


def service(title: str) -> FastAPI:
    """An app whose errors are answered as above. Its documentation pages, which load from elsewhere, are off."""
    app = FastAPI(title=title, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_exception_handler(Rejected, _rejected)
    app.add_exception_handler(Retryable, _retryable)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_api_route("/healthz", _healthy, methods=["GET"])
    return app


def refused(status: int, *reasons: str, **members: object) -> JSONResponse:
    """{error, reasons} and what else belongs to it."""
    body = {"error": _NAMES.get(status, "error"), "reasons": list(reasons), **members}
    return JSONResponse(body, status_code=status)


def ask_again(reason: str, seconds: float = RETRY_AFTER) -> JSONResponse:
    """503 with Retry-After: the same request is welcome later."""
    headers = {"Retry-After": str(max(1, math.ceil(seconds)))}
    return JSONResponse({"error": "not yet", "reasons": [reason]}, status_code=503, headers=headers)


def json_text(text: str, status: int = 200) -> Response:
    """JSON that is text already, so that what was signed goes out as it came."""
    return Response(text, status_code=status, media_type=JSON)


async def chunks(request: Request, most: int) -> AsyncIterator[bytes]:
    """A body of at most `most` bytes, piece by piece. Raises TooLarge (before it reads, where the length is named)."""
    length = request.headers.get("content-length", "0")
    if not length.isdigit():
        raise Malformed(f"Content-Length is {length[:40]!r}")
    total = int(length)
    if total > most:
        raise TooLarge(f"the body has {total} bytes, at most {most} are read")
    total = 0
    try:
        async for chunk in request.stream():
            total += len(chunk)
            if total > most:
                raise TooLarge(f"the body has more than {most} bytes")
            yield chunk
    except ClientDisconnect:
        raise Malformed("the body broke off") from None


async def body(request: Request, most: int) -> bytes:
    """A whole body of at most `most` bytes. Raises TooLarge."""
    return b"".join([chunk async for chunk in chunks(request, most)])


async def body_into(file: IO[bytes], request: Request, most: int) -> FileBytes:
    """A body of at most `most` bytes, written to an open, empty file as it comes. Raises TooLarge."""
    async for chunk in chunks(request, most):
        file.write(chunk)
    return FileBytes.of(file)


def in_parts(parts: Sequence[Bytes], media_type: str) -> Response:
    """Bytes that may lie on disk, sent piece by piece."""
    length = {"Content-Length": str(sum(len(part) for part in parts))}
    return StreamingResponse(pieces(*parts), media_type=media_type, headers=length)


def check_name(task_id: str, number: int) -> None:
    """Raises NotFound for what no task is named, before a database is asked."""
    if not _TASK_ID.fullmatch(task_id) or not 1 <= number < 2**31:
        raise NotFound(f"unknown task: no round {number} of {task_id[:64]!r} here")


def utf8(data: bytes) -> str:
    """A body's text. Raises Malformed."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Malformed("the body is not UTF-8") from None


async def _rejected(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Rejected)
    status = next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 422)
    return refused(status, *error.reasons)


async def _retryable(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Retryable)
    return ask_again(str(error), error.retry_after or RETRY_AFTER)


async def _http_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return refused(error.status_code, str(error.detail))


async def _invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return refused(422, *(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()))


def _healthy() -> Response:
    return json_text('{"status":"ok"}')
