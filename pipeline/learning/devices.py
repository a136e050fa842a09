"""Where a network is computed."""

from typing import Any

import torch

from pipeline.errors import Misconfigured


def choose_device(name: str) -> torch.device:
    """`auto` is the GPU where there is one. Raises Misconfigured for a device that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise Misconfigured(f"FLFLEET_DEVICE is {name!r}, expected auto, cpu, cuda or cuda:N") from None
    if device.type == "cpu":
        return device
    count = torch.cuda.device_count() if device.type == "cuda" and torch.cuda.is_available() else 0
    if (device.index or 0) >= count:
        raise Misconfigured(
            f"FLFLEET_DEVICE is {name!r}, but this process sees {count} CUDA device(s); auto takes what is there"
        )
    return device


def memory_of(device: torch.device) -> dict[str, Any]:
    """What a training's progress says of its GPU: `gpuMemory` {device, name, used, total} in bytes, of all its processes."""
    if device.type != "cuda":
        return {}
    free, total = torch.cuda.mem_get_info(device)
    properties = torch.cuda.get_device_properties(device)
    # Every process of the pool calls its own GPU cuda:0; the card's own id tells them apart.
    return {
        "gpuMemory": {"device": str(properties.uuid), "name": properties.name, "used": total - free, "total": total}
    }
