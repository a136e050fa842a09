"""A broker over TLS with an access list: Debian's redis-server, which has both; Valkey's wheel has no TLS."""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
import redis
from celery import Celery
from kombu.exceptions import OperationalError

from pipeline.broker import is_plain_beyond_this_host, tls_options
from pipeline.errors import Misconfigured
from pipeline.settings import load
from tasks.app import configuration
from tests.certificates import authority

ACL = Path(__file__).parents[2] / "docs/examples/broker.acl"


@pytest.fixture
def tls_broker(tmp_path):
    server = shutil.which("redis-server")
    if server is None:
        if os.environ.get("CI"):
            pytest.fail("redis-server is missing: apt-get install redis-server")
        pytest.skip("redis-server is missing")
    ca, certificate = authority(tmp_path)
    (tmp_path / "broker.acl").write_text(ACL.read_text().replace("CHANGE-ME", "s3cret"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    tls = [
        "--tls-port",
        str(port),
        "--tls-cert-file",
        certificate,
        "--tls-key-file",
        certificate,
        "--tls-ca-cert-file",
        ca,
    ]
    options = ["--port", "0", *tls, "--tls-auth-clients", "no", "--aclfile", tmp_path / "broker.acl", "--save", ""]
    process = subprocess.Popen([server, *map(str, options)], stdout=subprocess.DEVNULL, cwd=tmp_path)
    until = time.monotonic() + 10
    while time.monotonic() < until:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.02)
    yield f"rediss://flfleet:s3cret@127.0.0.1:{port}/0", ca
    process.terminate()
    process.wait()


def round_trip(settings) -> str:
    """A hint through the broker and back, by the app's own configuration."""
    app = Celery(
        "tls", config_source=configuration(settings, "train") | {"task_publish_retry": False}, set_as_current=False
    )
    try:
        app.send_task("flfleet.train", args=("run",), priority=0)
        with app.connection_for_read() as connection, connection.SimpleQueue(app.amqp.queues["train"]) as queue:
            message = queue.get(timeout=5)
            message.ack()
            return message.headers["task"]
    finally:
        app.close()


@pytest.mark.services
def test_hints_travel_over_tls_under_the_access_list_of_the_docs(tls_broker, monkeypatch):
    url, ca = tls_broker
    monkeypatch.setenv("FLFLEET_BROKER_URL", url)
    monkeypatch.setenv("FLFLEET_BROKER_CA", str(ca))
    assert round_trip(load()) == "flfleet.train"
    with redis.Redis.from_url(url, **tls_options(load())) as client, pytest.raises(redis.exceptions.NoPermissionError):
        client.flushall()


@pytest.mark.services
def test_a_broker_whose_authority_is_not_named_is_not_believed(tls_broker, monkeypatch):
    monkeypatch.setenv("FLFLEET_BROKER_URL", tls_broker[0])
    with pytest.raises((OperationalError, redis.ConnectionError), match=r"(?i)certificate"):
        round_trip(load())


def test_files_for_tls_without_tls_are_a_mistake(monkeypatch, tmp_path):
    monkeypatch.setenv("FLFLEET_BROKER_URL", "redis://127.0.0.1:6379/0")
    monkeypatch.setenv("FLFLEET_BROKER_CA", str(tmp_path / "ca.pem"))
    with pytest.raises(Misconfigured, match="rediss://"):
        tls_options(load())


@pytest.mark.parametrize(
    ("url", "plain"),
    [("redis://127.0.0.1:1/0", False), ("redis://broker:6379/0", True), ("rediss://broker:6379/0", False)],
)
def test_what_can_be_read_on_the_network_is_known(url, plain):
    assert is_plain_beyond_this_host(url) is plain
