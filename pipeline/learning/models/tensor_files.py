"""Tensors out of a model file of unknown origin: safetensors, or a `.pt` with a state dict. Nothing in it is ever run.

A file's format is told by its first bytes, not by its name. Shapes and sizes here are the file's own claims; `checkpoints`
holds them against the architecture before anything is computed.
"""

import pickle
import struct
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pipeline.errors import Malformed, Rejected
from pipeline.protocol.strict import convert, read_json
from pipeline.protocol.task import Architecture

#: The metadata key under which a safetensors file names its architecture.
ARCHITECTURE_KEY = "architecture"
#: Bytes of a `.pt` file's pickle: names and shapes only, the tensors lie beside it.
_MAX_PICKLE_BYTES = 16 * 1024 * 1024
#: What torch raises for damage inside an archive, by kind of damage.
_DAMAGE = (
    ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, OSError, RuntimeError, TypeError, ValueError,
    struct.error,
)  # fmt: skip
_ZIP = b"PK\x03\x04"
_HOW_TO_PUBLISH = (
    "publish safetensors, or torch.save(model.state_dict()), and name the architecture in the task "
    '(architecture: {"name": .., "kwargs": {..}})'
)


@dataclass(frozen=True, kw_only=True)
class RawModel:
    """What a file holds, unjudged."""

    tensors: Mapping[str, Tensor]
    #: From the file's own metadata.
    architecture: Architecture | None


def read_tensors(path: Path, max_bytes: int | None) -> RawModel:
    """Reads a model file. Raises Rejected with the reason: too large, damaged, a pickled module, another format."""
    size = path.stat().st_size
    if max_bytes is not None and size > max_bytes:
        raise Rejected(f"model file: {size} bytes, at most {max_bytes} are allowed (FLFLEET_MAX_MODEL_BYTES)")
    with path.open("rb") as file:
        start = file.read(9)
    if start.startswith(_ZIP):
        return RawModel(tensors=_read_zip(path), architecture=None)
    # A pickle begins with its protocol's opcode (0x80, 2 .. 5); the same bytes as a header's length mean one beyond the file.
    header = int.from_bytes(start[:8], "little")
    if start[8:] == b"{" and header <= size - 8:
        return _read_safetensors(path)
    if start[:1] == b"\x80":
        raise Rejected(f"model file: a bare pickle, which would run code when opened; {_HOW_TO_PUBLISH}")
    if start[8:] == b"{":
        raise Rejected(f"model file: truncated or damaged: a header of {header} bytes in a file of {size}")
    raise Rejected(f"model file: neither safetensors nor a .pt file, or damaged; {_HOW_TO_PUBLISH}")


def _read_safetensors(path: Path) -> RawModel:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, RuntimeError, OSError, AttributeError) as error:
        raise Rejected(f"model file: safetensors, but truncated or damaged: {str(error)[:300]}") from None
    return RawModel(tensors=tensors, architecture=_architecture_of(metadata))


def _architecture_of(metadata: Mapping[str, str]) -> Architecture | None:
    text = metadata.get(ARCHITECTURE_KEY)
    if text is None:
        return None
    try:
        return convert(read_json(text), Architecture, "architecture")
    except Malformed as error:
        raise Rejected(f"model file: metadata {ARCHITECTURE_KEY!r} must be {{name, kwargs}}: {error}") from None


def _read_zip(path: Path) -> dict[str, Tensor]:
    sizes = _checked_members(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd things that a damaged file claims about itself
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise Rejected(
            f"model file: a pickled module or other pickled objects, which would run code when opened; {_HOW_TO_PUBLISH}"
        ) from None
    except _DAMAGE as error:
        raise Rejected(f"model file: a .pt file that is truncated or damaged: {str(error)[:300]}") from None
    state = loaded["model"] if isinstance(loaded, dict) and isinstance(loaded.get("model"), dict) else loaded
    if not isinstance(state, dict) or not state or not all(_is_plain(name, value) for name, value in state.items()):
        raise Rejected(
            f'model file: a .pt file holds a state dict, bare or under "model", and nothing else; {_HOW_TO_PUBLISH}'
        )
    if any(tensor.untyped_storage().nbytes() not in sizes for tensor in state.values() if tensor.numel()):
        raise Rejected("model file: a .pt file whose tensors claim more than their records hold")
    return {name: tensor.detach() for name, tensor in state.items()}


def _checked_members(path: Path) -> set[int]:
    """The sizes of a `.pt` archive's tensor records. Raises Rejected: damaged, TorchScript, a bomb (compressed or overlapping)."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise Rejected(f"model file: a .pt file that is truncated or damaged: {error}") from None
    names = [member.filename.partition("/")[2] for member in members]
    if "constants.pkl" in names or any(name.startswith("code/") for name in names):
        raise Rejected(f"model file: a TorchScript archive, which holds code; {_HOW_TO_PUBLISH}")
    if "data.pkl" not in names:
        raise Rejected(f"model file: a zip archive that torch.save did not write; {_HOW_TO_PUBLISH}")
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise Rejected("model file: a .pt file with compressed records; torch.save writes none")
    if sum(member.file_size for member in members) > path.stat().st_size:
        raise Rejected("model file: a .pt file whose records overlap, to unpack to more than its size")
    if members[names.index("data.pkl")].file_size > _MAX_PICKLE_BYTES:
        raise Rejected(f"model file: a .pt file whose names and shapes take more than {_MAX_PICKLE_BYTES} bytes")
    return {member.file_size for member, name in zip(members, names, strict=True) if name.startswith("data/")}


def _is_plain(name: Any, value: Any) -> bool:
    return (
        isinstance(name, str)
        and isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
    )
