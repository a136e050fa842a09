import os
from types import SimpleNamespace

import pytest

from tasks import devices


@pytest.mark.parametrize(
    ("visible", "expected"),
    [("0,1", ["0", "1"]), ("GPU-a, GPU-b", ["GPU-a", "GPU-b"]), ("", []), ("-1", []), ("0,-1,1", ["0"])],
)
def test_what_cuda_would_show_is_read_as_cuda_reads_it(monkeypatch, visible, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert devices.cuda_devices() == expected


def test_without_a_wish_the_drivers_devices_are_counted(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(devices, "_NVIDIA", tmp_path / "none")
    assert devices.cuda_devices() == []
    for name in ("0000:01", "0000:02"):
        (tmp_path / "gpus" / name).mkdir(parents=True)
    monkeypatch.setattr(devices, "_NVIDIA", tmp_path / "gpus")
    assert devices.cuda_devices() == ["0", "1"]


def test_only_the_train_pool_is_spawned_and_only_where_there_is_a_gpu(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert devices.pool_settings("train")["worker_pool_start_method"] == "spawn"
    assert devices.pool_settings("encrypt") == {}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert devices.pool_settings("train") == {}


@pytest.mark.parametrize(("pool", "index", "seen"), [("train", 0, "4"), ("train", 3, "7"), ("data", 1, "4,7")])
def test_each_training_process_takes_its_own_device(monkeypatch, pool, index, seen):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    monkeypatch.setenv("FLFLEET_POOL", pool)
    monkeypatch.setattr(devices.billiard, "current_process", lambda: SimpleNamespace(index=index))
    devices._take_a_device()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == seen
