import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pipeline.errors import Malformed, Misconfigured, Retryable
from pipeline.parties.ipfs.cid import parse_cid
from pipeline.parties.ipfs.dag_pb import UnfitFile
from pipeline.parties.ipfs.sources import IpfsSources
from tests.ipfs_dags import car, node, raw
from tests.ipfs_vectors import BAD_CARS, CARS, car_bytes, original

CAR = "application/vnd.ipld.car; version=1; order=dfs; dups=y"
GOOD = next(vector for vector in CARS if vector["file"] == "small.helia.v1-1k.dups-y.car")
ROOT = GOOD["root"]


@contextmanager
def serving(
    body: bytes = b"", kind: str = CAR, *, status: int = 200, stall: bool = False
) -> Iterator[ThreadingHTTPServer]:
    """A gateway or a node that gives the same answer to whatever it is asked, and keeps what it was asked."""
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.command, self.path, self.headers.get("Accept")))
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body) + (1 if stall else 0)))
            self.end_headers()
            self.wfile.write(body)
            if stall:
                self.wfile.flush()
                over.wait(20)

        do_POST = do_GET

        def log_message(self, *_arguments: object) -> None: ...

    asked: list[tuple[str, str, str | None]] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.asked = asked
    server.url = f"http://127.0.0.1:{server.server_port}"
    server.multiaddress = f"/ip4/127.0.0.1/tcp/{server.server_port}/http"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        over.set()
        server.shutdown()
        server.server_close()
        thread.join()


def fetched(tmp_path, root=ROOT, *, max_bytes=2**20, timeout=5, **sources):
    source = IpfsSources(**sources).fetch(root, tmp_path / "model", max_bytes=max_bytes, timeout=timeout)
    return (tmp_path / "model").read_bytes(), source


def test_a_gateway_is_asked_for_a_car_by_the_cid(tmp_path):
    with serving(car_bytes(GOOD["file"])) as gateway:
        assert fetched(tmp_path, gateways=[gateway.url + "/"]) == (original(GOOD), gateway.url + "/")
        assert gateway.asked == [("GET", f"/ipfs/{ROOT}", CAR)]


def test_a_version_0_cid_is_asked_for_in_base32(tmp_path):
    vector = next(vector for vector in CARS if vector["file"] == "tiny.jsipfs.v0.car")
    with serving(car_bytes(vector["file"])) as gateway:
        assert fetched(tmp_path, vector["root"], gateways=[gateway.url])[0] == original(vector)
        assert gateway.asked[0][1] == f"/ipfs/{parse_cid(vector['root'])}"
        assert gateway.asked[0][1].startswith("/ipfs/bafybei")


@pytest.mark.parametrize("kind", ["application/vnd.ipld.car", "application/vnd.ipld.car; version=1; order=unk; dups=n"])
def test_a_car_in_another_order_is_as_good(kind, tmp_path):
    with serving(car_bytes(GOOD["file"]), kind) as gateway:
        assert fetched(tmp_path, gateways=[gateway.url])[0] == original(GOOD)


@pytest.mark.parametrize("vector", BAD_CARS, ids=lambda vector: vector["file"])
def test_after_a_gateway_that_lies_the_next_one_is_asked(vector, tmp_path):
    with serving(car_bytes(vector["file"])) as liar, serving(status=404) as empty:
        good = next(car for car in CARS if car["root"] == vector["root"])
        with serving(car_bytes(good["file"])) as honest:
            gateways = [liar.url, empty.url, "http://127.0.0.1:1", "nonsense", honest.url]
            assert fetched(tmp_path, vector["root"], gateways=gateways) == (original(good), honest.url)


def test_where_nobody_serves_it_every_reason_is_told_and_it_may_work_later(tmp_path):
    with (
        serving(car_bytes("bad.missing-block.car")) as partial,
        serving(status=404) as empty,
        pytest.raises(Retryable, match=r"no source served it: CAR: block bafk.* is missing; .* answered 404"),
    ):
        fetched(tmp_path, gateways=[partial.url, empty.url])


def test_a_gateway_that_ignores_accept_cannot_be_verified(tmp_path):
    with (
        serving(original(GOOD), "application/octet-stream") as gateway,
        pytest.raises(Retryable, match="cannot be checked against a CID of several blocks"),
    ):
        fetched(tmp_path, gateways=[gateway.url])


def test_unless_the_cid_is_a_single_raw_block(tmp_path):
    with serving(b"model", "application/octet-stream") as gateway:
        assert fetched(tmp_path, str(raw(b"model")), gateways=[gateway.url])[0] == b"model"
        with pytest.raises(Retryable, match="the bytes have another hash"):
            fetched(tmp_path, str(raw(b"mode1")), gateways=[gateway.url])
    with (
        serving(bytes(2**21 + 1), "application/octet-stream") as gateway,
        pytest.raises(Retryable, match="of one block"),
    ):
        fetched(tmp_path, str(raw(b"model")), max_bytes=2**23, gateways=[gateway.url])


@pytest.mark.parametrize("kind", ["application/vnd.ipld.car; version=2", "text/html", ""])
def test_another_content_type_is_no_car(kind, tmp_path):
    with serving(car_bytes(GOOD["file"]), kind) as gateway, pytest.raises(Retryable, match="ignores Accept"):
        fetched(tmp_path, gateways=[gateway.url])


def test_a_gateway_that_sends_too_much_is_left(tmp_path):
    with serving(bytes(5 * 2**20)) as gateway, pytest.raises(Retryable, match=r"larger than \d+ bytes|header of 0"):
        fetched(tmp_path, max_bytes=1, gateways=[gateway.url])


def test_what_the_cid_itself_rules_out_is_asked_once(tmp_path):
    root, block = node([], kind=1)
    with serving(car([(root, block)])) as first, serving(car([(root, block)])) as second:
        with pytest.raises(UnfitFile, match="is a directory"):
            fetched(tmp_path, str(root), gateways=[first.url, second.url])
        assert len(first.asked), len(second.asked) == (1, 0)


def test_a_gateway_that_stalls_is_left_after_the_time_out(tmp_path):
    with serving(car_bytes("bad.missing-block.car"), stall=True) as gateway, pytest.raises(Retryable, match=r"[Tt]ime"):
        fetched(tmp_path, gateways=[gateway.url], timeout=0.3)


def test_a_node_is_asked_before_the_gateways_whatever_it_calls_its_answer(tmp_path):
    with serving(car_bytes(GOOD["file"]), "application/json; charset=utf-8") as peer, serving() as gateway:
        content, source = fetched(tmp_path, api=peer.multiaddress, gateways=[gateway.url])
        assert (content, source) == (original(GOOD), peer.multiaddress)
        assert gateway.asked == []
        method, path, _ = peer.asked[0]
        assert method == "POST"
        assert path.startswith("/api/v0/dag/export?")
        assert f"arg={ROOT}" in path


@pytest.mark.parametrize("vector", BAD_CARS, ids=lambda vector: vector["file"])
def test_a_node_that_lies_is_not_believed(vector, tmp_path):
    with serving(car_bytes(vector["file"]), "text/plain") as peer, pytest.raises(Retryable, match="CAR: "):
        fetched(tmp_path, vector["root"], api=peer.multiaddress)


def test_a_node_that_lacks_a_block_hangs_and_is_left_after_the_time_out(tmp_path):
    with serving(car_bytes("bad.missing-block.car"), stall=True) as peer, pytest.raises(Retryable, match=r"127.0.0.1"):
        fetched(tmp_path, api=peer.multiaddress, timeout=0.3)


def test_a_node_that_refuses_or_is_not_there_is_left(tmp_path):
    with (
        serving(b'{"Message": "not found", "Code": 0}', "application/json", status=500) as peer,
        pytest.raises(Retryable, match="not found"),
    ):
        fetched(tmp_path, api=peer.multiaddress)
    with pytest.raises(Retryable, match=r"IPFS node /ip4/127.0.0.1/tcp/1/http"):
        fetched(tmp_path, api="/ip4/127.0.0.1/tcp/1/http")


@pytest.mark.parametrize("address", ["", "nonsense", "/ip4/999.0.0.1/tcp/1", "/ip4/127.0.0.1/udp/1"])
def test_an_address_that_is_none_is_the_operators_to_mend(address, tmp_path):
    with pytest.raises(Misconfigured, match="FLFLEET_IPFS_API"):
        fetched(tmp_path, api=address)


def test_without_a_source_the_settings_are_named(tmp_path):
    with pytest.raises(Misconfigured, match="FLFLEET_IPFS_GATEWAYS or FLFLEET_IPFS_API"):
        fetched(tmp_path)


def test_a_cid_that_is_none_is_refused_before_anyone_is_asked(tmp_path):
    with pytest.raises(Malformed, match="CID"):
        fetched(tmp_path, "Qm", gateways=["http://127.0.0.1:1"])
