"""Requests through a real proxy and a real TLS server, on loopback."""

import select
import socket
import ssl
import threading
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest

from pipeline.errors import Misconfigured, Retryable
from pipeline.parties.http import fetch_bytes
from pipeline.parties.route import route_of, use
from pipeline.settings import load
from tests.certificates import authority


class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *_arguments): ...


class Proxy(BaseHTTPRequestHandler):
    """Passes GETs on, and tunnels CONNECTs; what it saw is on its server."""

    def do_GET(self):
        self.server.seen.append(f"GET {self.path}")
        parts = urlsplit(self.path)
        connection = HTTPConnection(parts.hostname, parts.port, timeout=5)
        connection.request("GET", parts.path)
        body = connection.getresponse().read()
        connection.close()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_CONNECT(self):
        self.server.seen.append(f"CONNECT {self.path}")
        host, port = self.path.split(":")
        with socket.create_connection((host, int(port)), timeout=5) as other:
            self.send_response(200)
            self.end_headers()
            ends = {self.connection: other, other: self.connection}
            while True:
                for ready in select.select(list(ends), [], [], 5)[0]:
                    if not (data := ready.recv(65536)):
                        return
                    ends[ready].sendall(data)

    def log_message(self, *_arguments): ...


@pytest.fixture
def serve():
    started = []

    def start(handler, certificate=None):
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        server.seen = []
        server.handle_error = lambda *_arguments: None  # refused handshakes
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        started.append(server)
        return server

    yield start
    for server in started:
        server.shutdown()
        server.server_close()


def configure(monkeypatch, **values):
    for name, value in values.items():
        monkeypatch.setenv(f"FLFLEET_{name.upper()}", str(value))
    use(load())


def fetch(server, scheme="http"):
    return fetch_bytes(f"{scheme}://127.0.0.1:{server.server_port}/model", max_bytes=100, timeout=5)


def test_a_private_authority_is_believed_where_the_setting_names_it(serve, monkeypatch, tmp_path):
    ca, certificate = authority(tmp_path)
    server = serve(Answer, certificate)
    with pytest.raises(Retryable, match="FLFLEET_CA_BUNDLE"):
        fetch(server, "https")
    configure(monkeypatch, ca_bundle=ca)
    assert fetch(server, "https") == b"hello"


def test_another_authoritys_certificate_is_refused(serve, monkeypatch, tmp_path):
    (tmp_path / "other").mkdir()
    ca, _ = authority(tmp_path)
    _, certificate = authority(tmp_path / "other")
    configure(monkeypatch, ca_bundle=ca)
    with pytest.raises(Retryable, match="certificate"):
        fetch(serve(Answer, certificate), "https")


def test_requests_go_through_the_proxy(serve, monkeypatch):
    server, proxy = serve(Answer), serve(Proxy)
    configure(monkeypatch, proxy=f"http://127.0.0.1:{proxy.server_port}", no_proxy="elsewhere")
    assert fetch(server) == b"hello"
    assert proxy.seen == [f"GET http://127.0.0.1:{server.server_port}/model"]


def test_tls_is_tunnelled_through_the_proxy_which_sees_the_host_and_no_path(serve, monkeypatch, tmp_path):
    ca, certificate = authority(tmp_path)
    server, proxy = serve(Answer, certificate), serve(Proxy)
    configure(monkeypatch, proxy=f"http://127.0.0.1:{proxy.server_port}", no_proxy="elsewhere", ca_bundle=ca)
    assert fetch(server, "https") == b"hello"
    assert proxy.seen == [f"CONNECT 127.0.0.1:{server.server_port}"]


def test_loopback_is_asked_without_the_proxy_unless_told_otherwise(serve, monkeypatch):
    server, proxy = serve(Answer), serve(Proxy)
    configure(monkeypatch, proxy=f"http://127.0.0.1:{proxy.server_port}")
    assert fetch(server) == b"hello"
    assert proxy.seen == []


def test_a_proxy_that_is_away_is_named_without_its_password(serve, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    configure(monkeypatch, proxy=f"http://fleet:s3cret@127.0.0.1:{port}", no_proxy="elsewhere")
    with pytest.raises(Retryable, match="FLFLEET_PROXY") as caught:
        fetch(serve(Answer))
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(("name", "value"), [("PROXY", "proxy:3128"), ("CA_BUNDLE", "nowhere.pem")])
def test_settings_that_cannot_work_are_named(monkeypatch, name, value):
    monkeypatch.setenv(f"FLFLEET_{name}", value)
    with pytest.raises(Misconfigured, match=f"FLFLEET_{name}"):
        route_of(load())
