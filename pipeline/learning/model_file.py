"""Writing models: safetensors whose bytes depend on the model alone, so that everyone computes the same hash.

The library orders tensors by type and name and its metadata by chance; here tensors stand in state-dict order and the header
is canonical JSON, padded with spaces so that the data begin at a multiple of 8.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
import torch
from torch import Tensor

from pipeline.errors import Rejected
from pipeline.protocol.signing import canonical
from pipeline.protocol.task import Architecture

_NAMES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip


def write_model(state: Mapping[str, Tensor], architecture: Architecture) -> bytes:
    """A model's file. Raises Rejected for a type of tensor that safetensors has no name for."""
    named = canonical({"name": architecture.name, "kwargs": msgspec.to_builtins(architecture.kwargs)}).decode()
    header: dict[str, Any] = {"__metadata__": {"architecture": named, "format": "pt"}}
    parts = []
    offset = 0
    for name, tensor in state.items():
        if tensor.dtype not in _NAMES:
            raise Rejected(f"{name}: a tensor of {tensor.dtype} cannot be published")
        data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        end = offset + len(data)
        header[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [offset, end]}
        parts.append(data)
        offset = end
    text = canonical(header)
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text, *parts])
