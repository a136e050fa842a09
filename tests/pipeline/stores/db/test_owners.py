import os
import signal
import subprocess
import sys

import pytest

from pipeline.stores.db import owners


def test_this_process_lives():
    assert not owners.is_gone(owners.this_process())


def test_a_process_that_ended_is_gone_even_before_it_is_reaped():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    host, boot, _, _ = owners.this_process().split("|")
    owner = f"{host}|{boot}|{child.pid}|{owners._start(child.pid)}"
    assert not owners.is_gone(owner)
    child.kill()
    # waitid without reaping: the child stays a zombie.
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert owners.is_gone(owner)
    child.communicate()
    assert owners.is_gone(owner)


@pytest.mark.parametrize(
    ("part", "value", "gone"),
    [(0, "elsewhere", False), (1, "an-earlier-boot", True), (2, "4194303", True), (3, "1", True)],
    ids=["another host", "an earlier boot", "no such process", "another process with its number"],
)
def test_what_is_certain_of_an_owner(part, value, gone):
    fields = owners.this_process().split("|")
    fields[part] = value
    assert owners.is_gone("|".join(fields)) is gone


def test_a_process_that_is_stopped_does_not_work():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    owner = owners.working(child.pid)
    assert owner is not None
    assert not owners.is_gone(owner)
    child.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)
    assert owners.working(child.pid) is None
    assert not owners.is_gone(owner)
    child.send_signal(signal.SIGCONT)
    child.kill()
    child.communicate()
    assert owners.working(child.pid) is None


def test_macs_are_asked_through_psutil(monkeypatch, tmp_path):
    monkeypatch.setattr(owners, "_PROC", tmp_path)
    assert owners._start(os.getpid()) == owners._start(os.getpid()) != ""
    assert owners._start(4194303) == ""
