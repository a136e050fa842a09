"""Where a network is computed."""

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
