import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from pipeline.errors import Malformed, Rejected, Retryable
from pipeline.parties import http
from pipeline.parties.ipfs.sources import IpfsSources
from pipeline.parties.model_sources import fetch_model_file
from pipeline.protocol.encodings import sha256
from tests.ipfs_dags import raw

MODEL = bytes(range(256)) * 40


class Breaking(HTTPServer):
    """Sends at most `piece` bytes an answer, as a connection that breaks does."""

    def __init__(self, content=MODEL, piece=2**30, *, ranges=True, lie=0):
        self.content, self.piece, self.ranges, self.lie = content, piece, ranges, lie
        self.asked = []
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        wanted = self.headers.get("Range")
        self.server.asked.append((self.path, wanted))
        content, start = self.server.content, 0
        if wanted and self.server.ranges:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start + self.server.lie}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start : start + self.server.piece])

    def log_message(self, *_arguments): ...


@pytest.fixture(autouse=True)
def _small_reads(monkeypatch):
    monkeypatch.setattr(http, "_CHUNK", 10)


@pytest.fixture
def serve():
    running = []

    def start(*arguments, **keywords):
        server = Breaking(*arguments, **keywords)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        running.append((server, thread))
        return server

    yield start
    for server, thread in running:
        server.shutdown()
        server.server_close()
        thread.join()


def fetched(path, *, url=None, cid=None, gateways=(), model=MODEL, max_bytes=2**20):
    fetch_model_file(
        path,
        url=url,
        ipfs_hash=cid,
        sha256=sha256(model),
        sources=IpfsSources(gateways=gateways),
        max_bytes=max_bytes,
        timeout=2,
    )
    return path.read_bytes()


def test_a_broken_download_goes_on_where_it_broke(serve, tmp_path):
    server = serve(piece=4000)
    assert fetched(tmp_path / "model", url=server.url) == MODEL
    assert [wanted for _, wanted in server.asked] == [None, "bytes=4000-", "bytes=8000-"]


def test_a_server_without_ranges_begins_anew(serve, tmp_path):
    server = serve(ranges=False)
    (tmp_path / "model").write_bytes(MODEL[:100])
    assert fetched(tmp_path / "model", url=server.url) == MODEL


def test_what_an_earlier_attempt_left_is_gone_on_with(serve, tmp_path):
    server = serve()
    (tmp_path / "model").write_bytes(MODEL[:100])
    assert fetched(tmp_path / "model", url=server.url) == MODEL
    assert server.asked == [("/", "bytes=100-")]


@pytest.mark.parametrize("left", [b"x" * 100, MODEL + b"x", b"x" * len(MODEL)])
def test_a_beginning_that_is_of_another_file_is_thrown_away(serve, tmp_path, left):
    server = serve()
    (tmp_path / "model").write_bytes(left)
    assert fetched(tmp_path / "model", url=server.url) == MODEL
    assert server.asked[-1] == ("/", None)


def test_a_whole_file_that_was_left_is_taken(serve, tmp_path):
    (tmp_path / "model").write_bytes(MODEL)
    assert fetched(tmp_path / "model", url=serve().url) == MODEL


def test_an_endless_trickle_of_broken_connections_is_left_for_later_with_what_came(serve, tmp_path):
    server = serve(piece=10)
    with pytest.raises(Retryable):
        fetched(tmp_path / "model", url=server.url)
    assert (tmp_path / "model").read_bytes() == MODEL[: 10 * len(server.asked)]
    assert 1 < len(server.asked) < 20


def test_another_range_than_was_asked_for_is_refused_and_the_file_begun_anew(serve, tmp_path):
    server = serve(lie=1)
    (tmp_path / "model").write_bytes(MODEL[:100])
    assert fetched(tmp_path / "model", url=server.url) == MODEL
    assert server.asked == [("/", "bytes=100-"), ("/", None)]


def test_the_limit_holds_over_a_resume(serve, tmp_path):
    with pytest.raises(Rejected, match="larger than"):
        fetched(tmp_path / "model", url=serve(piece=4000).url, max_bytes=9000)
    assert not (tmp_path / "model").exists()


def test_another_model_than_the_tasks_is_refused(serve, tmp_path):
    with pytest.raises(Rejected, match=r"expected SHA-256 0x.*, got 0x"):
        fetched(tmp_path / "model", url=serve(b"other").url)
    assert not (tmp_path / "model").exists()


def test_ipfs_is_asked_only_where_the_address_fails(serve, tmp_path):
    board, gateway = serve(), serve()
    assert fetched(tmp_path / "model", url=board.url, cid=str(raw(MODEL)), gateways=[gateway.url]) == MODEL
    assert gateway.asked == []


@pytest.mark.parametrize("board", ["other", "down"])
def test_ipfs_helps_where_the_address_lies_or_is_down(serve, tmp_path, board):
    url = serve(b"other").url if board == "other" else "http://127.0.0.1:1/"
    gateway = serve()
    assert fetched(tmp_path / "model", url=url, cid=str(raw(MODEL)), gateways=[gateway.url]) == MODEL
    assert gateway.asked == [(f"/ipfs/{raw(MODEL)}", None)]


def test_both_failures_are_told_and_it_may_work_later(serve, tmp_path):
    with pytest.raises(Retryable, match=r"SHA-256.*; IPFS b.*: no source served it: .*another hash"):
        fetched(tmp_path / "model", url=serve(b"other").url, cid=str(raw(MODEL)), gateways=[serve(b"bad").url])
    assert list(tmp_path.iterdir()) == []


def test_a_cid_of_another_file_is_refused_for_good_unless_the_address_is_only_down(serve, tmp_path):
    gateway, cid = serve(b"other"), str(raw(b"other"))
    with pytest.raises(Rejected, match="model from IPFS"):
        fetched(tmp_path / "model", cid=cid, gateways=[gateway.url])
    with pytest.raises(Retryable, match="model from IPFS"):
        fetched(tmp_path / "model", url="http://127.0.0.1:1/", cid=cid, gateways=[gateway.url])
    with pytest.raises(Malformed, match="CID"):
        fetched(tmp_path / "model", cid="Qm", gateways=[gateway.url])


def test_without_an_ipfs_source_the_addresss_own_failure_is_told(tmp_path):
    with pytest.raises(Retryable, match=r"127.0.0.1"):
        fetched(tmp_path / "model", url="http://127.0.0.1:1/", cid=str(raw(MODEL)))
