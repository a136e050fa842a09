import os
import signal
import threading
import time

import pytest
import redis
from kombu.exceptions import OperationalError

from pipeline.settings import current
from pipeline.stores.heartbeats import heartbeat_age, heartbeat_file
from tasks import heartbeat
from tasks.connections import EagerConnection
from tests.free_ports import free_ports
from tests.worker_fleet import broker as broker
from tests.worker_fleet import environment as environment
from tests.worker_fleet import ledger_url as ledger_url
from tests.worker_fleet import start_worker as start_worker
from tests.worker_fleet import wait_until


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


@pytest.mark.parametrize("its_own", [False, True])
def test_a_process_that_asks_for_its_broker_again_is_alive(heart, its_own):
    heart.stale()
    (port,) = free_ports(1)
    called = []
    options = {"callback": lambda: called.append(1)} if its_own else {}  # a worker's consumer brings one
    with EagerConnection(f"redis://127.0.0.1:{port}/0") as connection, pytest.raises(OperationalError):
        connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0, interval_max=0, **options)
    assert heart.age() < 10
    assert bool(called) == its_own


def test_beats_every_tick_is_a_heartbeat(heart, monkeypatch, tmp_path):
    from tasks.app import app

    monkeypatch.setattr(heartbeat, "HEART", heart)
    heart.stale()
    scheduler = heartbeat.BeatingScheduler(app, schedule_filename=str(tmp_path / "beat"), lazy=True)
    monkeypatch.setattr("celery.beat.Scheduler.tick", lambda *_args, **_options: 1.0)
    assert scheduler.tick() == 1.0
    assert heart.age() < 10


@pytest.mark.services
def test_a_workers_heart_beats_on_while_its_broker_is_away(broker, environment, start_worker, tmp_path):
    path = heartbeat_file(tmp_path / "home", "worker-all")

    def beats_again() -> None:
        os.utime(path, (time.time() - 1000,) * 2)
        wait_until(lambda: heartbeat_age(path) < 100, 20)

    worker = start_worker("all")
    wait_until(path.exists, 30)
    beats_again()
    with redis.Redis.from_url(broker) as client:
        client.shutdown(nosave=True)
    for _ in range(3):
        beats_again()
    worker.send_signal(signal.SIGSTOP)
    time.sleep(1)
    os.utime(path, (time.time() - 1000,) * 2)
    time.sleep(6)
    assert heartbeat_age(path) > 100
