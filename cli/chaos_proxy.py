"""A proxy in front of the aggregator that misbehaves when it is told to; the tasks name its address as the aggregator's.

It also notes every submission that passes, so that two different ones of a miner for a round are seen even where the
aggregator would refuse the second.
"""

import http.client
import os
import socket
import struct
import threading
import time
from collections import defaultdict
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from pipeline.errors import Malformed
from pipeline.protocol.encodings import sha256
from pipeline.protocol.submission import Submission

#: Longer than the fleet's `http_timeout_seconds` under chaos.
LATE_SECONDS = 6.0
RETRY_AFTER_SECONDS = 2
_UPSTREAM_TIMEOUT = 40.0
_MAX_BODY = 64 * 1024 * 1024
#: Zero seconds of linger: closing sends a reset instead of the usual end.
_RESET = struct.pack("ii", 1, 0)
_HOP_BY_HOP = {"connection", "transfer-encoding", "keep-alive", "content-length", "server", "date"}


class Mood(Enum):
    """How it behaves."""

    HONEST = "passes everything on"
    UNAVAILABLE = "503 to everything"
    TOO_MANY = "429 with Retry-After to everything"
    #: Only submissions: they reach the aggregator, its answer does not come back.
    RESET = "resets"
    LATE = "answers late"


class AggregatorProxy:
    """Listens on a free port of loopback from the start, in threads of this process."""

    def __init__(self, upstream: str) -> None:
        self._upstream = urlsplit(upstream)
        self._lock = threading.Lock()
        self._bodies: defaultdict[tuple[str, int, str], set[bytes]] = defaultdict(set)
        self.mood = Mood.HONEST
        #: Requests that met a mood other than HONEST.
        self.spoiled = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, name="proxy", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stops listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def submitted(self) -> dict[tuple[str, int, str], int]:
        """How many different bodies came for each (taskID, round, miner)."""
        with self._lock:
            return {name: len(bodies) for name, bodies in self._bodies.items()}

    def note(self, body: bytes, content_type: str) -> None:
        """Remembers a submission; what is none is the aggregator's to refuse."""
        try:
            header = Submission.decode(body, content_type).header
        except Malformed:
            return
        with self._lock:
            self._bodies[header.task_id, header.round, header.miner].add(sha256(body))

    def take_mood(self) -> Mood:
        """The mood for one request, counted."""
        with self._lock:
            self.spoiled += self.mood is not Mood.HONEST
            return self.mood

    def ask(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        """The aggregator's answer. Raises OSError or HTTPException."""
        connection = http.client.HTTPConnection(
            self._upstream.hostname or "", self._upstream.port, timeout=_UPSTREAM_TIMEOUT
        )
        try:
            connection.request(method, path, body=body or None, headers=headers)
            response = connection.getresponse()
            kept = {name: value for name, value in response.getheaders() if name.lower() not in _HOP_BY_HOP}
            return response.status, kept, response.read()
        finally:
            connection.close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(_Handler):
            def pass_on(self) -> None:
                self.serve(proxy)

        return Handler


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def pass_on(self) -> None:
        raise NotImplementedError

    def do_GET(self) -> None:
        self.pass_on()

    def do_POST(self) -> None:
        self.pass_on()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class names it so)
        return

    def serve(self, proxy: AggregatorProxy) -> None:
        length = self.headers.get("Content-Length", "0")
        if not length.isdigit() or int(length) > _MAX_BODY:
            self._answer(413, {}, b"")
            return
        body = self.rfile.read(int(length))
        content_type = self.headers.get("Content-Type", "")
        submits = self.command == "POST" and self.path.endswith("/submit-update")
        mood = proxy.take_mood()
        if mood is Mood.UNAVAILABLE:
            self._answer(503, {}, b'{"error": "chaos", "reasons": ["503 of the proxy"]}')
            return
        if mood is Mood.TOO_MANY:
            answer = b'{"error": "chaos", "reasons": ["429 of the proxy"]}'
            self._answer(429, {"Retry-After": str(RETRY_AFTER_SECONDS)}, answer)
            return
        if submits:
            proxy.note(body, content_type)
        try:
            headers = {"Content-Type": content_type} if content_type else {}
            status, kept, answer = proxy.ask(self.command, self.path, body, headers)
        except (OSError, http.client.HTTPException):
            self._answer(502, {}, b'{"error": "bad gateway", "reasons": ["the aggregator is away"]}')
            return
        if submits and mood is Mood.RESET:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.close_connection = True
            # Closed by its number: the ordinary way would say goodbye first.
            os.close(self.connection.detach())
            return
        if submits and mood is Mood.LATE:
            time.sleep(LATE_SECONDS)
        self._answer(status, kept, answer)

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.close_connection = True
        try:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            return  # the client has gone meanwhile: what chaos is for
