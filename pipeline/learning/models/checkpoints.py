"""A model from a file that may be hostile, and its weights as one flat vector (docs/protocol.md, section 2, 3 and 7).

Legend: d, the floating-point values of a state dict in the architecture's order, buffers included.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.errors import Rejected
from pipeline.learning.models.architectures import build, infer, layout
from pipeline.learning.models.model_file import DTYPES, parts_of
from pipeline.learning.models.tensor_files import RawModel, read_tensors
from pipeline.protocol.task import Architecture

State = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Model:
    """A checked state dict in its architecture's order."""

    architecture: Architecture
    state: State

    @property
    def dimension(self) -> int:
        """d."""
        return dimension_of(self.state)

    def module(self) -> nn.Module:
        """The network with these weights, in float32."""
        module = build(self.architecture)
        module.load_state_dict(self.state)
        return module


def read_model(
    path: Path,
    architecture: Architecture | None,
    *,
    max_dimension: int,
    dimension: int | None = None,
    max_bytes: int | None = None,
) -> Model:
    """Reads a model file of either format and checks it against its architecture.

    `architecture`: the task's; None: the file's metadata say it, or its names and shapes. `dimension`: the task's.
    `max_bytes`: None where the file's size was bounded before.
    Raises Rejected: see `model_files`; no architecture, names or shapes that do not fit, too many parameters, another
    dimension than the task's, NaN or infinite weights.
    """
    raw = read_tensors(path, max_bytes)
    architecture = architecture or raw.architecture or infer(raw.tensors)
    if architecture is None:
        raise Rejected(
            "model file: its architecture is not known and its layers are none of ours; "
            'name it in the task (architecture: {"name": .., "kwargs": {..}})'
        )
    expected = layout(architecture)
    found = dimension_of(expected)
    if found > max_dimension:
        raise Rejected(f"model: {found} parameters, at most {max_dimension} are allowed (FLFLEET_MAX_DIMENSION)")
    _check_fit(raw, expected, architecture.name)
    if dimension is not None and found != dimension:
        raise Rejected(f"model: {found} floating-point values, but the task's dimension is {dimension}")
    state = {name: raw.tensors[name].contiguous() for name in expected}
    infinite = [name for name, tensor in state.items() if not _is_finite(tensor)]
    if infinite:
        raise Rejected(f"model: NaN or infinite weights in {_listed(infinite)}")
    return Model(architecture=architecture, state=state)


def dimension_of(state: Mapping[str, Tensor]) -> int:
    """d: the floating-point values of a state dict, buffers of batch norm included (docs/protocol.md, section 3)."""
    return sum(tensor.numel() for tensor in state.values() if tensor.is_floating_point())


def flatten(state: Mapping[str, Tensor]) -> NDArray[np.float32]:
    """float32[d]: the floating-point tensors in the state dict's order."""
    parts = [tensor.detach().cpu().reshape(-1).float() for tensor in state.values() if tensor.is_floating_point()]
    flat: NDArray[np.float32] = torch.cat(parts).numpy()
    return flat


def with_flat(state: Mapping[str, Tensor], vector: NDArray[np.float32]) -> State:
    """The inverse of `flatten`: float32[d] in `state`'s shapes and dtypes. Integer tensors stay as they are."""
    if vector.shape != (dimension_of(state),):
        raise ValueError(f"expected {dimension_of(state)} values, got the shape {vector.shape}")
    flat, position, result = torch.from_numpy(vector.copy()), 0, {}
    for name, tensor in state.items():
        if not tensor.is_floating_point():
            result[name] = tensor.detach().cpu().clone()
            continue
        part = flat[position : position + tensor.numel()]
        result[name] = part.reshape(tensor.shape).to(tensor.dtype)
        position += tensor.numel()
    return result


def _check_fit(raw: RawModel, expected: Mapping[str, Tensor], name: str) -> None:
    """Names, shapes and kinds of number as in the architecture's state dict, or Rejected with every difference."""
    problems = []
    if missing := [key for key in expected if key not in raw.tensors]:
        problems.append(f"misses {_listed(missing)}")
    if foreign := [key for key in raw.tensors if key not in expected]:
        problems.append(f"holds {_listed(foreign)}, which {name} does not have")
    for key, tensor in expected.items():
        found = raw.tensors.get(key)
        if found is None:
            continue
        if found.shape != tensor.shape:
            problems.append(f"{key} has the shape {tuple(found.shape)}, expected {tuple(tensor.shape)}")
        elif found.is_floating_point() != tensor.is_floating_point() or found.dtype not in DTYPES:
            problems.append(f"{key} is of type {found.dtype}, expected {tensor.dtype}")
    if problems:
        more = [f"and {len(problems) - 10} more differences"] if len(problems) > 10 else []
        raise Rejected(*(f"model for {name}: {problem}" for problem in problems[:10] + more))


def _is_finite(tensor: Tensor) -> bool:
    """In parts: a model that lies in a mapped file is not copied."""
    return all(bool(torch.isfinite(part).all()) for part in parts_of(tensor))


def _listed(names: list[str]) -> str:
    shown = ", ".join(repr(name[:80]) for name in names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
