"""Writing models: safetensors whose bytes depend on the model alone, so that everyone computes the same hash.

The library sorts tensors by type and name and orders its metadata by chance.
"""

import json
from collections.abc import Mapping

import torch
from torch import Tensor

from pipeline.learning.tensor_files import ARCHITECTURE_KEY
from pipeline.protocol.task import Architecture

#: safetensors' names of the dtypes that a state dict may have.
DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def write_model(state: Mapping[str, Tensor], architecture: Architecture) -> bytes:
    """Canonical safetensors: the same model is the same bytes everywhere, so that its SHA-256 can be voted on.

    An 8-byte length, the header's JSON (`__metadata__` first, then the tensors in order, no blanks) filled up with spaces
    to a multiple of 8, the tensors little-endian and row by row without gaps. The architecture stands as it is given.
    """
    header: dict[str, object] = {"__metadata__": {ARCHITECTURE_KEY: _text(architecture)}}
    bodies, offset = [], 0
    for name, tensor in state.items():
        body = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        header[name] = {
            "dtype": DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + len(body)],
        }
        bodies.append(body)
        offset += len(body)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join((len(text).to_bytes(8, "little"), text, *bodies))


def _text(architecture: Architecture) -> str:
    value = {"name": architecture.name, "kwargs": architecture.kwargs}
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
