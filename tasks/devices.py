"""The train pool's GPUs: one per process, chosen before torch is imported."""

import os
import platform
from pathlib import Path
from typing import Any

import billiard
from celery.signals import worker_process_init

_NVIDIA = Path("/proc/driver/nvidia/gpus")
_VISIBLE = "CUDA_VISIBLE_DEVICES"


def cuda_devices() -> list[str]:
    """The CUDA devices that this process may use, found without importing torch: a fork must not follow CUDA's start."""
    visible = os.environ.get(_VISIBLE)
    if visible is not None:
        # What follows -1 is hidden, as CUDA reads it.
        names = [name.strip() for name in visible.split(",") if name.strip()]
        return names[: names.index("-1")] if "-1" in names else names
    try:
        return [str(number) for number in range(len(list(_NVIDIA.iterdir())))]
    except OSError:
        return []


def pool_settings(pool: str) -> dict[str, Any]:
    """Celery's settings for a pool that uses GPUs; none for the others."""
    if pool != "train" or not cuda_devices():
        return {}
    return {
        # CUDA does not survive a fork.
        "worker_pool_start_method": "spawn",
        # A spawned child imports everything afresh before it says that it lives (4 s by default).
        "worker_proc_alive_timeout": 60.0,
    }


def devices_in_words(pool: str) -> list[str]:
    """What a pool's processes compute on, for people: the GPUs of the train pool, else the host's processor."""
    if pool == "train" and (names := cuda_devices()):
        models = _gpu_models()
        return [
            f"cuda:{name} {models[int(name)]}" if name.isdigit() and int(name) < len(models) else f"cuda:{name}"
            for name in names
        ]
    return [f"{len(os.sched_getaffinity(0))} x {_processor()}"]


def _gpu_models() -> list[str]:
    """The GPUs' names as the driver tells them, without importing torch."""
    try:
        files = [path / "information" for path in sorted(_NVIDIA.iterdir())]
        return [_value(path.read_text(), "Model") for path in files]
    except OSError:
        return []


def _processor() -> str:
    try:
        return _value(Path("/proc/cpuinfo").read_text(), "model name")
    except OSError:
        return platform.machine()


def _value(text: str, name: str) -> str:
    """The value of the first `name : value` line."""
    lines = (line.partition(":") for line in text.splitlines())
    return next((value.strip() for key, _, value in lines if key.strip() == name), platform.machine())


@worker_process_init.connect
def _take_a_device(**_options: Any) -> None:
    if os.environ.get("FLFLEET_POOL") == "train" and (devices := cuda_devices()):
        # The index stays the same when a child is replaced.
        os.environ[_VISIBLE] = devices[billiard.current_process().index % len(devices)]
