import stat
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from cli.broker import embedded_broker
from cli.supervision import Supervisor
from pipeline.settings import load

pytestmark = pytest.mark.services


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    home = tmp_path / "a home"
    supervisor = Supervisor(home)
    supervisor.start([embedded_broker(home)], tied=True, own_settings=True)
    yield home
    supervisor.stop()


def client(home: Path) -> redis.Redis:
    return redis.Redis.from_url(load(home).broker, retry=Retry(ConstantBackoff(0.2), 50))


def test_the_embedded_broker_keeps_what_it_was_given_over_a_kill(home: Path) -> None:
    with client(home) as connection:
        connection.set("message", "kept")
        connection.execute_command("WAITAOF", 1, 0, 5000)
        pid = int((home / "broker" / "broker.pid").read_text())
    psutil.Process(pid).kill()
    with client(home) as connection:
        assert connection.get("message") == b"kept"


def test_the_embedded_broker_never_evicts_and_asks_for_its_password(home: Path) -> None:
    with client(home) as connection:
        assert connection.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    url = load(home).broker
    with (
        redis.Redis(port=int(url.rsplit(":", 1)[1].split("/")[0])) as stranger,
        pytest.raises(redis.AuthenticationError),
    ):
        stranger.ping()
    assert stat.S_IMODE((home / "broker" / "url").stat().st_mode) == 0o600


def test_port_and_password_stay_when_the_broker_is_prepared_again(home: Path) -> None:
    before = load(home).broker
    embedded_broker(home)
    assert load(home).broker == before
