"""Reading models from files that may be hostile, and the flat vector of their floating-point values.

    safetensors   the architecture in its metadata, key `architecture`, as JSON {"name", "kwargs"}
    .pt           a state dict, bare or under "model", by torch.load(weights_only=True)

A pickled module or a TorchScript archive is code and is refused without being run.
"""

import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pipeline.errors import Malformed, Rejected
from pipeline.learning.architectures import infer, skeleton
from pipeline.protocol.strict import convert, read_json
from pipeline.protocol.task import Architecture

State = dict[str, Tensor]
_PUBLISH_INSTEAD = "publish it instead as safetensors, or as torch.save(model.state_dict(), path), and name its architecture in the task"
#: safetensors' own limit for its header.
_MAX_HEADER_BYTES = 100_000_000


@dataclass(frozen=True, kw_only=True)
class Model:
    """A network's architecture and weights, in the architecture's state-dict order."""

    architecture: Architecture
    state: State


def read_model(path: Path, architecture: Architecture | None, *, dimension: int | None, max_dimension: int) -> Model:
    """Reads and checks a model file. `dimension`: the task's d, if there is one to hold it to.

    The architecture is the given one (the task's), else the file's own, else the one that the tensors leave no doubt about.
    Raises Rejected with what is wrong: a format that is code, a damaged file, tensors that do not fit, NaN or infinity, too
    many values, an architecture that nobody names.
    """
    tensors, own = _read_safetensors(path) if _is_safetensors(path) else (_read_pt(path), None)
    architecture = architecture or own or infer({name: tuple(tensor.shape) for name, tensor in tensors.items()})
    if architecture is None:
        raise Rejected("the model's architecture is named neither in the task nor in the file: name it in the task")
    state = _fitted(tensors, architecture)
    size = dimension_of(state)
    if size > max_dimension:
        raise Rejected(f"the model has {size} values, FLFLEET_MAX_DIMENSION allows {max_dimension}")
    if dimension is not None and size != dimension:
        raise Rejected(f"the model has {size} floating-point values, the task's dimension is {dimension}")
    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise Rejected(f"the model's {name} holds NaN or infinity")
    return Model(architecture=architecture, state=state)


def dimension_of(state: Mapping[str, Tensor]) -> int:
    """d: the number of floating-point values, buffers included."""
    return sum(tensor.numel() for tensor in state.values() if tensor.is_floating_point())


def flatten(state: Mapping[str, Tensor]) -> NDArray[np.float32]:
    """The floating-point tensors in state-dict order as float32[d] (PROTOCOL.md section 3)."""
    parts = [
        tensor.detach().cpu().to(torch.float32).reshape(-1) for tensor in state.values() if tensor.is_floating_point()
    ]
    vector: NDArray[np.float32] = torch.cat(parts).numpy().astype(np.float32, copy=False)
    return vector


def with_flat(state: Mapping[str, Tensor], vector: NDArray[np.float32]) -> State:
    """The inverse of `flatten`: the same state with other values; each tensor keeps its dtype, integer ones stay."""
    changed: State = {}
    offset = 0
    for name, tensor in state.items():
        if not tensor.is_floating_point():
            changed[name] = tensor
            continue
        part = torch.from_numpy(np.array(vector[offset : offset + tensor.numel()], dtype=np.float32))
        changed[name] = part.reshape(tensor.shape).to(tensor.dtype)
        offset += tensor.numel()
    return changed


def _is_safetensors(path: Path) -> bool:
    """A safetensors file begins with its header's length and an opening brace; a zip or a pickle does not."""
    with path.open("rb") as file:
        head = file.read(9)
    return len(head) == 9 and head[8:] == b"{" and int.from_bytes(head[:8], "little") <= _MAX_HEADER_BYTES


def _read_safetensors(path: Path) -> tuple[State, Architecture | None]:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata: dict[str, str] = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no mapping
    except (SafetensorError, ValueError, KeyError, RuntimeError, OSError) as error:
        raise Rejected(f"the model is no whole safetensors file: {error}") from None
    text = metadata.get("architecture")
    if text is None:
        return tensors, None
    try:
        return tensors, convert(read_json(text), Architecture, "architecture in the model's metadata")
    except Malformed as error:
        raise Rejected(str(error)) from None


def _read_pt(path: Path) -> State:
    if not zipfile.is_zipfile(path):
        raise Rejected(f"the model is neither safetensors nor a PyTorch file; {_PUBLISH_INSTEAD}")
    _refuse_archives(path)
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, KeyError, TypeError, AttributeError) as error:
        raise Rejected(
            f"the model's file holds more than tensors, or is damaged ({_first_line(error)}); {_PUBLISH_INSTEAD}"
        ) from None
    if isinstance(content, dict) and isinstance(content.get("model"), dict):
        content = content["model"]
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in content.items()
    ):
        raise Rejected(f"the model's file is no state dict of named tensors; {_PUBLISH_INSTEAD}")
    return dict(content)


def _refuse_archives(path: Path) -> None:
    """TorchScript is code; entries that are compressed, or claim more bytes than the file has, are a bomb."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except zipfile.BadZipFile as error:
        raise Rejected(f"the model's file is damaged: {error}") from None
    if any(name.endswith("constants.pkl") or "/code/" in name for name in (entry.filename for entry in entries)):
        raise Rejected(f"the model is a TorchScript archive, which is code; {_PUBLISH_INSTEAD}")
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise Rejected("the model's file unpacks to more than its own size; PyTorch never compresses")


def _fitted(tensors: Mapping[str, Tensor], architecture: Architecture) -> State:
    """The tensors in the architecture's order. Raises Rejected where names, shapes or kinds differ."""
    expected = skeleton(architecture).state_dict()
    problems = [f"{name} is missing" for name in expected if name not in tensors]
    problems += [f"{name[:120]} is not of this architecture" for name in tensors if name not in expected]
    for name, wanted in expected.items():
        tensor = tensors.get(name)
        if tensor is None:
            continue
        if tensor.shape != wanted.shape:
            problems.append(f"{name} has shape {tuple(tensor.shape)}, expected {tuple(wanted.shape)}")
        if tensor.is_floating_point() != wanted.is_floating_point() or tensor.is_complex() or tensor.is_sparse:
            problems.append(f"{name} is {tensor.dtype}, expected {wanted.dtype}")
    if problems:
        raise Rejected(f"the model does not fit {architecture.name}: {'; '.join(problems[:8])}")
    return {name: tensors[name].contiguous() for name in expected}


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
