"""Several small trainings of one shape as one program: on small networks, most of a step's time is the step's own overhead.

Each keeps its own weights, seed, order of samples, metrics and end. What it gives equals what `training.train` gives it alone, up to
float32 sums in another order.

Legend: K members; row k of a stacked tensor [K, ...] is member k's.
"""

import copy
import math
import secrets
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, vmap  # type: ignore[attr-defined, unused-ignore]
from torch.nn.modules.dropout import _DropoutNd

from pipeline.errors import Rejected
from pipeline.learning.data.datasets import Dataset, Samples
from pipeline.learning.devices import memory_of
from pipeline.learning.evaluation import BATCH_SIZE, scores
from pipeline.learning.models.checkpoints import flatten
from pipeline.learning.recipe import SCHEDULES, Loss, make_optimiser
from pipeline.learning.training import (
    REPORT_SECONDS,
    Limits,
    Trained,
    batches_of,
    check,
    diverged,
    ended_early,
    finite_delta,
    is_enough,
    limits_met,
    out_of_seconds,
)
from pipeline.learning.training_checkpoint import Metrics, restore_checkpoint, write_checkpoint
from pipeline.protocol.task import Training

#: More members win little: the overhead of a step is spread thin by then, and a worker should not hold many of other workers' turns.
MOST_MEMBERS = 64
#: A stack that could not hold so many loses (docs/decisions/0014): its weights no longer stay in the processor's cache.
FEWEST_MEMBERS = 8
#: Kept once for all members by torch's optimisers: the count of steps, which is the same for all.
_SHARED = "step"
Ended = Mapping[int, "Trained | Rejected"]


class Unstackable(Exception):
    """These trainings must be done one by one; the message says why. None has changed but for its checkpoints."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """One of the trainings."""

    #: Its initial weights; trained in place.
    module: nn.Module
    #: As `train`'s.
    seed: int | None = None
    resume: bytes | None = None


def members_of_a_stack(dimension: int, parameters: int) -> int:
    """How many networks of `dimension` values a stack of so many `parameters` together holds; 1: better one by one."""
    fitting = parameters // dimension
    return 1 if fitting < FEWEST_MEMBERS else min(MOST_MEMBERS, fitting)


def obstacle(module: nn.Module, training: Training) -> str | None:
    """Why such trainings cannot be stacked, as half a sentence; None where nothing is known against it."""
    if training.dp is not None:
        return "differential privacy clips the gradients of single samples"
    if training.augmentation:
        return "augmentation changes image by image"
    if any(True for _ in module.buffers()):
        return "the network keeps statistics beside its weights (batch norm)"
    if any(isinstance(layer, _DropoutNd) and layer.p > 0 for layer in module.modules()):
        return "the network draws random numbers while it trains (dropout)"
    if any(parameter.dtype != torch.float32 for parameter in module.parameters()):
        return "the network's weights are not all float32"
    return None


def train_stack(
    members: Sequence[Member],
    dataset: Dataset,
    training: Training,
    limits: Limits,
    *,
    device: torch.device,
    threads: int | None = None,
    precision: torch.dtype | None = None,
    report: Callable[[Mapping[int, Mapping[str, Any]]], Collection[int]] = lambda _progress: (),
    save: Callable[[Mapping[int, Callable[[], bytes]]], None] = lambda _makers: None,
) -> Iterator[Ended]:
    """Trains the members in place and yields those that have ended, by their index: what each gives, or why it was refused.

    The members' networks are of one architecture; their checkpoints have the same number of epochs. `report` gets every member's
    progress and answers with those that are to leave: they are not yielded. `save` gets, after every epoch but the last, what
    makes each member's checkpoint. `seconds`, and the operator's limit of it, are the whole stack's.
    Raises Unstackable; Rejected or Misconfigured as `train` does for all of them; Corrupt for a checkpoint that is none; what
    `report` and `save` raise.
    """
    begun = time.monotonic()
    if threads is not None:
        torch.set_num_threads(threads)
    training = dataset.description.wishes(training)
    check(training, dataset, limits)
    if (reason := obstacle(members[0].module, training)) is not None:
        raise Unstackable(reason)
    epochs, batch_size = min(training.epochs, limits.max_epochs), min(training.batch_size, limits.max_batch_size)
    limited = limits_met(training, limits, dataset)
    loss = Loss(training, dataset.training.y[dataset.training.rows])
    seeds = [secrets.randbits(128) if member.seed is None else member.seed for member in members]
    w_old = [flatten(member.module.state_dict()) for member in members]
    stack = _Stack([member.module for member in members], training, device, precision)
    done = stack.restore([member.resume for member in members])
    reported, out_of_time = begun, False

    def say(losses: Mapping[int, float]) -> None:
        shared = {"epoch": done, "epochs": epochs, **memory_of(device)}
        stack.drop(report({index: {**shared, "loss": value} for index, value in losses.items()}))

    def given(index: int, *, complete: bool, more: Sequence[str] = ()) -> Trained | Rejected:
        module = stack.write_back(index)
        try:
            delta = finite_delta(w_old[index], module, training)
        except Rejected as error:
            return error
        metrics = stack.metrics[index]
        held = metrics[-1]["heldAccuracy"] if complete and metrics else stack.measure(dataset.held_back)[index][0]
        return Trained(
            delta=delta,
            epochs=len(metrics),
            metrics=metrics,
            accuracy=held,
            device=str(device),
            seconds=time.monotonic() - begun,
            limited=[*limited, *more],
        )

    while stack.members and done < epochs and not out_of_time:
        orders = {index: _order(seeds[index], done, len(dataset.training)) for index in stack.members}
        batches = {index: list(batches_of(order, batch_size)) for index, order in orders.items()}
        count = len(batches[stack.members[0]])
        totals, seen, started, rate = dict.fromkeys(stack.members, 0.0), 0, time.monotonic(), 0.0
        for number in range(count):
            rate = training.learning_rate * SCHEDULES[training.schedule]((done + number / count) / epochs)
            positions = np.stack([batches[index][number] for index in stack.members])
            values = stack.gradients(loss, *dataset.training.take(positions))
            bad = {index: value for index, value in values.items() if not math.isfinite(value)}
            if bad:
                stack.drop(bad)
                yield {index: diverged(value, done + 1, training) for index, value in bad.items()}
            if not stack.members:
                return
            stack.step(rate)
            size, now = positions.shape[1], time.monotonic()
            seen += size
            totals = {index: totals[index] + values[index] * size for index in stack.members}
            if now - reported >= REPORT_SECONDS:
                reported = now
                say({index: totals[index] / seen for index in stack.members})
                if not stack.members:
                    return
            if now - begun > limits.max_seconds:
                out_of_time = True
                break
        else:
            held = stack.measure(dataset.held_back)
            for index in stack.members:
                right, held_loss = held[index]
                stack.metrics[index].append(
                    {
                        "loss": totals[index] / seen,
                        "heldLoss": held_loss,
                        "heldAccuracy": right,
                        "learningRate": rate,
                        "seconds": round(time.monotonic() - started, 3),
                    }
                )
            done += 1
            say({index: totals[index] / seen for index in stack.members})
            enough = [index for index in stack.members if is_enough(stack.metrics[index], training.patience)]
            if enough and done < epochs:
                sentence = ended_early(done, epochs, training)
                yield {index: given(index, complete=True, more=[sentence]) for index in enough}
                stack.drop(enough)
            if stack.members and done < epochs:
                save({index: partial(stack.checkpoint, index) for index in stack.members})
    more = [out_of_seconds(done, epochs, limits)] if out_of_time else []
    if stack.members:
        yield {index: given(index, complete=not out_of_time, more=more) for index in stack.members}


def _order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    """The order of an epoch's samples, as `train` draws it."""
    rng = np.random.default_rng((seed, epoch))
    rng.integers(2**63)  # dropout's, which nothing here uses
    return rng.permutation(count)


class _Stack:
    """The members' weights and their optimiser's state, row by row."""

    def __init__(
        self, modules: Sequence[nn.Module], training: Training, device: torch.device, precision: torch.dtype | None
    ) -> None:
        self._modules, self._training, self._device, self._precision = modules, training, device, precision
        # Its weights are never used: the stacked ones take their place in every call.
        self._shape = copy.deepcopy(modules[0])
        #: Indices of those that are at work, in the order of the rows.
        self.members = list(range(len(modules)))
        self.metrics: list[list[Metrics]] = [[] for _ in modules]
        self._names = [name for name, _ in self._shape.named_parameters()]
        self._parameters: list[Tensor] = []
        self._anchors: list[Tensor] = []
        self._optimiser: torch.optim.Optimizer

    def restore(self, checkpoints: Sequence[bytes | None]) -> int:
        """Stacks weights and optimisers as they were left; returns how many epochs are done. Raises Corrupt."""
        anchors = self._stacked()
        self._anchors = anchors if self._training.proximal else []
        optimisers = []
        for index, (module, checkpoint) in enumerate(zip(self._modules, checkpoints, strict=True)):
            optimisers.append(make_optimiser(module.parameters(), self._training))
            if checkpoint is not None:
                self.metrics[index] = restore_checkpoint(checkpoint, module, optimisers[-1])[0]
        self._use(self._stacked())
        self._optimiser.load_state_dict(_joined([optimiser.state_dict() for optimiser in optimisers]))
        (done,) = {len(metrics) for metrics in self.metrics}
        return done

    def gradients(self, loss: Loss, x: NDArray[np.float32], y: NDArray[np.int64]) -> dict[int, float]:
        """Each member's loss over its batch, whose gradient is then in its row. `x` float32[K, n, ...], `y` int64[K, n]."""
        self._optimiser.zero_grad(set_to_none=True)
        inputs, labels = torch.from_numpy(x).to(self._device), torch.from_numpy(y).to(self._device)
        self._shape.train()
        try:
            logits = self._logits(inputs, 0)
            summed, weighed = loss.parts(logits, labels)
            summed.sum().backward()  # type: ignore[no-untyped-call, unused-ignore]  # torch leaves it untyped
        except (RuntimeError, MemoryError, NotImplementedError, TypeError, ValueError, IndexError) as error:
            # Whatever it is, each member alone finds out whether it is its own.
            raise Unstackable(f"torch cannot stack it: {str(error).splitlines()[0][:200]}") from error
        weighed = torch.where(weighed == 0, 1.0, weighed)
        for gradient in self._gradients():
            gradient.div_(_by_row(weighed, gradient))
        return dict(zip(self.members, (summed.detach() / weighed).tolist(), strict=True))

    def step(self, rate: float) -> None:
        """One step of all members."""
        for parameter, anchor in zip(self._parameters, self._anchors, strict=False):
            if parameter.grad is not None:
                parameter.grad.add_(parameter.detach() - anchor, alpha=self._training.proximal)
        if self._training.clip_norm is not None:
            self._clip(self._training.clip_norm)
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        self._optimiser.step()

    def measure(self, samples: Samples) -> dict[int, tuple[float | None, float | None]]:
        """Accuracy and mean cross entropy of each member; None where there are no samples."""
        if not len(samples):
            return dict.fromkeys(self.members, (None, None))
        rows = len(self.members)
        right, loss = torch.zeros(rows, dtype=torch.int64), torch.zeros(rows, dtype=torch.float64)
        self._shape.eval()
        with torch.no_grad():
            for start in range(0, len(samples), BATCH_SIZE):
                x, y = samples.take(np.arange(start, min(start + BATCH_SIZE, len(samples))))
                hits, lost = scores(self._logits(torch.from_numpy(x).to(self._device), None).cpu(), torch.from_numpy(y))
                right, loss = right + hits, loss + lost
        share, mean = (right / len(samples)).tolist(), (loss / len(samples)).tolist()
        return dict(zip(self.members, zip(share, mean, strict=True), strict=True))

    def drop(self, indices: Collection[int]) -> None:
        """These leave; their rows go."""
        rows = [row for row, index in enumerate(self.members) if index not in indices]
        if len(rows) == len(self.members):
            return
        self.members = [self.members[row] for row in rows]
        if not rows:
            return
        state, kept = self._optimiser.state_dict(), torch.tensor(rows, device=self._device)
        gradients = [parameter.grad for parameter in self._parameters]
        self._anchors = [anchor[kept] for anchor in self._anchors]
        self._use([parameter.detach()[kept] for parameter in self._parameters])
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = None if gradient is None else gradient[kept]
        self._optimiser.load_state_dict(_of_rows(state, kept))

    def write_back(self, index: int) -> nn.Module:
        """The member's network with the weights of its row."""
        module, row = self._modules[index], self.members.index(index)
        with torch.no_grad():
            for mine, stacked in zip(module.parameters(), self._parameters, strict=True):
                mine.copy_(stacked[row])
        return module

    def checkpoint(self, index: int) -> bytes:
        """As a training alone writes it, so that either can go on from it."""
        module, row = self.write_back(index), torch.tensor(self.members.index(index), device=self._device)
        optimiser = make_optimiser(module.parameters(), self._training)
        optimiser.load_state_dict(_of_rows(self._optimiser.state_dict(), row))
        return write_checkpoint(module, optimiser, self.metrics[index])

    def _logits(self, x: Tensor, axis: int | None) -> Tensor:
        """[K, n, classes]; `axis` 0: each member's own `x`; None: the same for all."""
        with torch.autocast(self._device.type, dtype=self._precision, enabled=self._precision is not None):
            stacked = dict(zip(self._names, self._parameters, strict=True))
            logits: Tensor = vmap(self._call, in_dims=(0, axis))(stacked, x)
        return logits

    def _call(self, parameters: dict[str, Tensor], x: Tensor) -> Any:
        return functional_call(self._shape, parameters, (x,))

    def _stacked(self) -> list[Tensor]:
        columns = zip(*(module.parameters() for module in self._modules), strict=True)
        return [torch.stack([each.detach() for each in column]).to(self._device) for column in columns]

    def _use(self, stacked: Sequence[Tensor]) -> None:
        trained = [parameter.requires_grad for parameter in self._shape.parameters()]
        self._parameters = [tensor.requires_grad_(wanted) for tensor, wanted in zip(stacked, trained, strict=True)]
        self._optimiser = make_optimiser(self._parameters, self._training)

    def _gradients(self) -> list[Tensor]:
        return [parameter.grad for parameter in self._parameters if parameter.grad is not None]

    def _clip(self, largest: float) -> None:
        """As `nn.utils.clip_grad_norm_`, for each row."""
        gradients = self._gradients()
        norms = torch.stack([gradient.flatten().view(len(gradient), -1).norm(dim=1) for gradient in gradients]).norm(
            dim=0
        )
        factors = (largest / (norms + 1e-6)).clamp(max=1.0)
        for gradient in gradients:
            gradient.mul_(_by_row(factors, gradient))


def _by_row(values: Tensor, like: Tensor) -> Tensor:
    return values.view(-1, *(1 for _ in like.shape[1:]))


def _joined(states: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The stacked optimiser's state of the members' own."""
    joined = {
        number: {
            name: torch.stack([state["state"][number][name] for state in states]) if _is_stacked(name, value) else value
            for name, value in values.items()
        }
        for number, values in states[0]["state"].items()
    }
    return {**states[0], "state": joined}


def _of_rows(state: dict[str, Any], rows: Tensor) -> dict[str, Any]:
    """An optimiser's state with these rows (one: without the axis)."""
    picked = {
        number: {name: value[rows].clone() if _is_stacked(name, value) else value for name, value in values.items()}
        for number, values in state["state"].items()
    }
    return {**state, "state": picked}


def _is_stacked(name: str, value: Any) -> bool:
    return isinstance(value, Tensor) and name != _SHARED
