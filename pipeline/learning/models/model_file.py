"""Writing models: safetensors whose bytes depend on the model alone, so that everyone computes the same hash.

The library sorts tensors by type and name and orders its metadata by chance.
"""

import json
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from pipeline.learning.models.tensor_files import ARCHITECTURE_KEY
from pipeline.protocol.task import Architecture

#: Numbers of a tensor that are worked on at once.
PART = 2**18
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
    bodies = (bytes_of(part) for tensor in state.values() for part in parts_of(tensor))
    return b"".join((beginning(state, architecture), *bodies))


def beginning(state: Mapping[str, Tensor], architecture: Architecture) -> bytes:
    """All before the first tensor; of `state`, names, shapes and dtypes count."""
    header: dict[str, object] = {"__metadata__": {ARCHITECTURE_KEY: _text(architecture)}}
    offset = 0
    for name, tensor in state.items():
        size = tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + size],
        }
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def parts_of(tensor: Tensor) -> Iterator[Tensor]:
    """A tensor's numbers row by row, flat, at most `PART` at a time, not copied where they lie in a row already."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return (flat[at : at + PART] for at in range(0, len(flat), PART))


def bytes_of(part: Tensor) -> bytes:
    """A flat part's numbers, little-endian."""
    return part.view(torch.uint8).numpy().tobytes()


def _text(architecture: Architecture) -> str:
    value = {"name": architecture.name, "kwargs": architecture.kwargs}
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
