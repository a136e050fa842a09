import os
import threading
import time

import pytest
from kombu.exceptions import OperationalError

from pipeline.settings import current
from pipeline.stores.heartbeats import heartbeat_age, heartbeat_file
from tasks import heartbeat
from tasks.connections import EagerConnection
from tests.free_ports import free_ports


@pytest.fixture
def heart(monkeypatch):
    """This process's heart, of a main process of the role `beat`; its file's age."""
    one = heartbeat._Heart()
    monkeypatch.setattr("tasks.connections.HEART", one)
    one.begin("beat")
    path = heartbeat_file(current().home, "beat")

    def stale() -> None:
        os.utime(path, (time.time() - 100,) * 2)
        one._next = 0.0

    one.stale, one.age = stale, lambda: heartbeat_age(path)
    return one


def test_a_main_process_touches_its_file(heart):
    assert heart.age() < 10
    heart.stale()
    heart.touch()
    assert heart.age() < 10


def test_a_thread_beside_the_loop_does_not_speak_for_it(heart):
    heart.stale()
    thread = threading.Thread(target=heart.touch)
    thread.start()
    thread.join()
    assert heart.age() > 50


def test_nor_does_a_child(heart):
    heart.stale()
    child = os.fork()
    if child == 0:
        heart.touch()
        os._exit(0)
    os.waitpid(child, 0)
    assert heart.age() > 50


def test_a_process_that_asks_for_its_broker_again_is_alive(heart):
    heart.stale()
    (port,) = free_ports(1)
    with EagerConnection(f"redis://127.0.0.1:{port}/0") as connection, pytest.raises(OperationalError):
        connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0, interval_max=0)
    assert heart.age() < 10


def test_beats_every_tick_is_a_heartbeat(heart, monkeypatch, tmp_path):
    from tasks.app import app

    monkeypatch.setattr(heartbeat, "HEART", heart)
    heart.stale()
    scheduler = heartbeat.BeatingScheduler(app, schedule_filename=str(tmp_path / "beat"), lazy=True)
    monkeypatch.setattr("celery.beat.Scheduler.tick", lambda *_args, **_options: 1.0)
    assert scheduler.tick() == 1.0
    assert heart.age() < 10
