import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from pipeline.errors import Rejected, Retryable
from pipeline.parties.http import RefusedByParty, download, fetch_bytes, send

Serve = Callable[..., str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers = []

    def start(status: int = 200, body: bytes = b"", **headers: str) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_arguments: object) -> None:
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}/x"

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


def test_an_answer_within_the_bound_is_read(serve: Serve, tmp_path: Path) -> None:
    url = serve(body=b"model")
    assert fetch_bytes(url, max_bytes=5, timeout=5) == b"model"
    download(url, tmp_path / "model", max_bytes=5, timeout=5)
    assert (tmp_path / "model").read_bytes() == b"model"


def test_an_answer_beyond_the_bound_is_rejected(serve: Serve, tmp_path: Path) -> None:
    url = serve(body=b"model!")
    with pytest.raises(Rejected, match="larger than 5 bytes"):
        fetch_bytes(url, max_bytes=5, timeout=5)
    with pytest.raises(Rejected, match="larger than 5 bytes"):
        download(url, tmp_path / "model", max_bytes=5, timeout=5)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_party_that_is_overloaded_or_broken_is_asked_again(serve: Serve, status: int) -> None:
    with pytest.raises(Retryable) as caught:
        fetch_bytes(serve(status, Retry_After="7"), max_bytes=5, timeout=5)
    assert caught.value.retry_after == 7


@pytest.mark.parametrize("header", ["soon", "nan", "", "-3", "1e9"])
def test_a_retry_after_that_is_no_sensible_number_does_no_harm(serve: Serve, header: str) -> None:
    with pytest.raises(Retryable) as caught:
        fetch_bytes(serve(503, Retry_After=header), max_bytes=5, timeout=5)
    assert caught.value.retry_after is None or 0 <= caught.value.retry_after <= 600


@pytest.mark.parametrize("status", [400, 404, 409, 410, 413, 422])
def test_a_refusal_carries_its_status_and_every_reason(serve: Serve, status: int) -> None:
    body = b'{"error": "refused", "reasons": ["bad signature", "wrong length"]}'
    with pytest.raises(RefusedByParty) as caught:
        fetch_bytes(serve(status, body), max_bytes=5, timeout=5)
    assert caught.value.status == status
    assert caught.value.reasons == ("bad signature", "wrong length")


def test_a_refusal_that_is_not_json_is_still_a_refusal(serve: Serve) -> None:
    with pytest.raises(RefusedByParty, match="answered 404"):
        fetch_bytes(serve(404, b"<html>" * 100_000), max_bytes=5, timeout=5)


def test_redirects_are_not_followed(serve: Serve) -> None:
    with pytest.raises(Rejected, match="redirect"):
        fetch_bytes(serve(302, Location="http://127.0.0.1:1/"), max_bytes=5, timeout=5)


def test_a_party_that_is_not_there_is_asked_again() -> None:
    with pytest.raises(Retryable):
        fetch_bytes("http://127.0.0.1:1/", max_bytes=5, timeout=1)


@pytest.mark.parametrize("url", ["", "ftp://127.0.0.1/x", "file:///etc/passwd", "http://", "nonsense"])
def test_an_address_that_is_none_is_rejected(url: str) -> None:
    with pytest.raises(Rejected):
        send("GET", url, max_bytes=5, timeout=1)
