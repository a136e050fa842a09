import gzip
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import sentry_sdk
import structlog

from tasks import incidents
from tests.signed_tasks import MINERS

SECRET = MINERS[0].secret.hex()


@pytest.fixture
def receiver():
    """A Sentry of the test's own: the envelopes that it was sent, as text."""
    received = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append(
                (gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body).decode()
            )
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    incidents.install(f"http://public@127.0.0.1:{server.server_port}/1")
    yield received
    sentry_sdk.get_client().close()
    sentry_sdk.init()
    server.shutdown()
    server.server_close()


def test_a_bug_is_told_with_its_run_and_without_any_key(receiver):
    def work(password: str) -> None:
        local_key = SECRET
        raise RuntimeError(f"database postgresql://fleet:{password}@db/ledger refused 0x{local_key}, token=abc123")

    with structlog.contextvars.bound_contextvars(run="the-run", stage="submit", miner=MINERS[0].address):
        try:
            work("hunter2")
        except RuntimeError as error:
            sentry_sdk.capture_exception(error)
    sentry_sdk.flush(5)
    (text,) = [one for one in receiver if "RuntimeError" in one]
    event = json.loads(text.splitlines()[2])
    assert event["tags"] == {"run": "the-run", "stage": "submit", "miner": MINERS[0].address}
    assert event["exception"]["values"][-1]["value"] == (
        "database postgresql://[hidden]@db/ledger refused [hex], token=[hidden]"
    )
    for private in (SECRET, "hunter2", "abc123", '"vars"'):
        assert private not in text


def test_what_is_not_known_to_be_harmless_is_left_out():
    event = {"message": "m", "extra": {"sys.argv": ["x"]}, "request": {"data": "d"}, "user": {"id": 1}, "contexts": {}}
    assert incidents.scrubbed(event) == {"message": "m", "tags": {}}
