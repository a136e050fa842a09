"""Requests to other parties: every size bounded before it is read, every error mapped to one of ours.

no connection, time-out, 5xx, 429     Retryable, with the other side's Retry-After
404 and other 4xx                     Rejected, with the `reasons` of the answer
an answer that is too large           Rejected
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import IO, Any

import requests

from pipeline.errors import Malformed, Rejected, Retryable
from pipeline.parties.route import route
from pipeline.protocol.file_bytes import Bytes, FileBytes, pieces
from pipeline.protocol.strict import read_json

#: Bytes of an error's body that are read for its reasons.
MAX_ERROR_BYTES = 64 * 1024
#: A Retry-After beyond this many seconds is cut to it: the deadline decides, not the other side.
MAX_RETRY_AFTER_SECONDS = 600.0
_CHUNK = 256 * 1024
#: Broken connections that one download takes up again before it waits.
_MOST_RESUMES = 8


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A 2xx answer."""

    status: int
    body: bytes


@dataclass(frozen=True, kw_only=True)
class StreamedAnswer:
    """A 2xx answer whose body is still on its way."""

    content_type: str
    chunks: Iterator[bytes]


class RefusedByParty(Rejected):
    """A 4xx answer; `status` tells 409 (another one is there) from 410 (closed) and 422 (refused)."""

    def __init__(self, status: int, *reasons: str, body: bytes = b"") -> None:
        super().__init__(*reasons)
        self.status = status
        #: The answer's body, cut at MAX_ERROR_BYTES.
        self.body = body


def fetch_bytes(url: str, *, max_bytes: int, timeout: float) -> bytes:
    """GETs at most `max_bytes`. Raises Retryable or Rejected."""
    return send("GET", url, max_bytes=max_bytes, timeout=timeout).body


def server_time(url: str, *, timeout: float) -> float | None:
    """Unix seconds by the other side's Date header; None where it names none. Raises Retryable or Rejected."""
    with _exchange("GET", url, timeout=timeout) as response:
        stated = response.headers.get("Date", "")
    try:
        return parsedate_to_datetime(stated).timestamp()
    except ValueError:
        return None


def download(url: str, path: Path, *, max_bytes: int, timeout: float) -> None:
    """GETs at most `max_bytes` into a file, streamed; what the file already holds is taken as the beginning.

    A connection that breaks is taken up again where it broke (Range), a few times, as long as every try brings something. Whether both
    halves are of one file is for the caller to check, by hash. Raises Retryable, with what came so far kept in the file, or
    Rejected; the file is then to be thrown away.
    """
    for left in reversed(range(_MOST_RESUMES + 1)):
        before = path.stat().st_size if path.exists() else 0
        try:
            return _download_from(before, url, path, max_bytes=max_bytes, timeout=timeout)
        except Retryable:
            if not left or not path.exists() or path.stat().st_size <= before:
                raise
    return None


def _download_from(offset: int, url: str, path: Path, *, max_bytes: int, timeout: float) -> None:
    # Ranges of a compressed answer would be of other bytes.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={offset}-"} if offset else {})
    try:
        with _exchange("GET", url, timeout=timeout, headers=headers) as response:
            goes_on = response.status_code == 206 and _range_start(response) == offset
            if response.status_code == 206 and not goes_on:
                raise Rejected(f"{url} answered with another range than was asked for")
            with _disk(path.parent), path.open("ab" if goes_on else "wb") as sink:
                for chunk in _bounded(response, url, max_bytes - (offset if goes_on else 0)):
                    sink.write(chunk)
    except RefusedByParty as error:
        if error.status != 416 or not offset:
            raise
        # What is there is as long as the file or longer: the caller's hash tells; a wrong one starts afresh.


@contextmanager
def _disk(where: Path | str) -> Iterator[None]:
    """A full disk may be an empty one later. The network's errors are OSErrors too, and pass."""
    try:
        yield
    except requests.exceptions.RequestException:
        raise
    except OSError as error:
        raise Retryable(f"{where}: {error}") from error


def _range_start(response: requests.Response) -> int | None:
    found = re.match(r"bytes (\d{1,18})-", response.headers.get("Content-Range", ""))
    return int(found.group(1)) if found else None


@contextmanager
def streamed(
    url: str, *, max_bytes: int, timeout: float, headers: Mapping[str, str] | None = None
) -> Iterator[StreamedAnswer]:
    """GETs an answer whose body is read chunk by chunk, inside the `with`. Raises Retryable or Rejected, as `send`."""
    with _exchange("GET", url, timeout=timeout, headers=headers) as response:
        content_type = response.headers.get("Content-Type", "")
        yield StreamedAnswer(content_type=content_type, chunks=_bounded(response, url, max_bytes))


def fetch_into(file: IO[bytes], url: str, *, max_bytes: int, timeout: float) -> FileBytes:
    """GETs at most `max_bytes` into an open, empty file, streamed. Raises Retryable or Rejected."""
    return send_into(file, "GET", url, max_bytes=max_bytes, timeout=timeout)


def send(
    method: str,
    url: str,
    *,
    max_bytes: int,
    timeout: float,
    body: Bytes | None = None,
    content_type: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """One request with a bounded answer; a body in a file is streamed. Raises Retryable or Rejected (`RefusedByParty` for a 4xx)."""
    with _exchange(method, url, timeout=timeout, body=body, headers=_named(headers, content_type)) as response:
        return Answer(status=response.status_code, body=b"".join(_bounded(response, url, max_bytes)))


def send_into(
    file: IO[bytes],
    method: str,
    url: str,
    *,
    max_bytes: int,
    timeout: float,
    body: Bytes | None = None,
    content_type: str | None = None,
) -> FileBytes:
    """As `send`, with an answer that goes to an open, empty file as it comes. Raises Retryable or Rejected."""
    with (
        _exchange(method, url, timeout=timeout, body=body, headers=_named(None, content_type)) as response,
        _disk(url),
    ):
        for chunk in _bounded(response, url, max_bytes):
            file.write(chunk)
        return FileBytes.of(file)


def _named(headers: Mapping[str, str] | None, content_type: str | None) -> dict[str, str]:
    return dict(headers or {}) | ({"Content-Type": content_type} if content_type else {})


class _Streamed:
    """A body in a file, as the library takes one: its length, and piece by piece."""

    def __init__(self, body: Bytes) -> None:
        self._body = body

    def __len__(self) -> int:
        return len(self._body)

    def __iter__(self) -> Iterator[bytes]:
        return (bytes(piece) for piece in pieces(self._body))


@contextmanager
def _exchange(
    method: str, url: str, *, timeout: float, body: Bytes | None = None, headers: Mapping[str, str] | None = None
) -> Iterator[requests.Response]:
    way = route()
    try:
        with requests.request(
            method,
            url,
            data=body if body is None or isinstance(body, bytes) else _Streamed(body),
            headers=headers,
            timeout=(timeout, timeout),
            stream=True,
            allow_redirects=False,
            proxies=way.proxies(url),
            verify=way.verify(),
        ) as response:
            _raise_for_status(response, url)
            yield response
    except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, requests.exceptions.MissingSchema):
        raise Rejected(f"{url[:200]!r} is not an address that can be asked") from None
    except requests.exceptions.SSLError as error:
        # The operator's to mend, or an attack: later it may be right again.
        advice = "whose authority is not believed? FLFLEET_CA_BUNDLE names one's own"
        raise Retryable(f"{method} {url}: {_short(error)}; {advice}") from None
    except requests.exceptions.ProxyError:
        raise Retryable(f"{method} {url}: the proxy does not answer or refuses (FLFLEET_PROXY)") from None
    except requests.exceptions.RequestException as error:
        raise Retryable(f"{method} {url}: {_short(error)}") from None


def _raise_for_status(response: requests.Response, url: str) -> None:
    status = response.status_code
    if 200 <= status < 300:
        return
    body = b"".join(_cut(response, MAX_ERROR_BYTES))
    reasons = _reasons(body) or [f"{url} answered {status}"]
    if status == 429 or status >= 500:
        raise Retryable(f"{url} answered {status}: {'; '.join(reasons)}", retry_after=_retry_after(response))
    if 300 <= status < 400:
        raise Rejected(f"{url} answered with a redirect ({status}), which is not followed")
    raise RefusedByParty(status, *reasons, body=body)


def _reasons(body: bytes) -> list[str]:
    try:
        answer: Any = read_json(body)
    except Malformed:
        return []
    reasons = answer.get("reasons") if isinstance(answer, dict) else None
    return [text[:500] for text in reasons if isinstance(text, str)][:20] if isinstance(reasons, list) else []


def _retry_after(response: requests.Response) -> float | None:
    try:
        seconds = float(response.headers.get("Retry-After", ""))
    except ValueError:
        return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS) if seconds == seconds else None


def _bounded(response: requests.Response, url: str, max_bytes: int) -> Iterator[bytes]:
    total = 0
    for chunk in response.iter_content(_CHUNK):
        total += len(chunk)
        if total > max_bytes:
            raise Rejected(f"{url}: the answer is larger than {max_bytes} bytes")
        yield chunk


def _cut(response: requests.Response, most: int) -> Iterator[bytes]:
    for chunk in response.iter_content(most):
        yield chunk[:most]
        return


def _short(error: Exception) -> str:
    """The library's message without the memory addresses and pools that it quotes."""
    return f"{type(error).__name__}: {str(error)[:300]}"
