"""A federation's training under each rule, with the same seeds: ours, dense FedAvg, every miner's own top-k.

Legend: w the model's values, float32[d]; delta = w_old - w_new of one miner; n miners.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from bench.learning_cases import Plan, Workload
from bench.learning_data import Federation
from bench.learning_parties import encrypted_sum, plain_sum, task_of
from pipeline.aggregation.support import next_support
from pipeline.curve.contract import Kernel
from pipeline.errors import FleetError
from pipeline.learning.compression import compress, wish
from pipeline.learning.evaluation import accuracy
from pipeline.learning.models.checkpoints import flatten, with_flat
from pipeline.learning.training import Limits, train
from pipeline.learning.update import apply_update
from pipeline.protocol.encodings import ceil_ratio, indices_from_bitmap
from pipeline.protocol.submission import points32_size

Vector = NDArray[np.float32]
#: w_old and every miner's delta to w_new.
Average = Callable[[Vector, list[Vector]], Vector]
_LIMITS = Limits(max_epochs=100, max_batch_size=100_000, max_seconds=3600.0)
#: An index and a value, where nothing is encrypted.
_PAIR_BYTES, _FLOAT_BYTES = 8, 4


@dataclass(frozen=True, kw_only=True)
class Round:
    """One round's outcome."""

    #: On the test samples, 0 .. 1.
    accuracy: float
    #: By a miner to the aggregator.
    bytes_sent: int
    #: Whether its sum went through the encryption.
    encrypted: bool = False


class Learner:
    """One federation's model, trained from it by each miner."""

    def __init__(self, workload: Workload, federation: Federation, seed: int) -> None:
        self.miners = len(federation.miners)
        self._module = workload.module(seed)
        self._state = {name: tensor.clone() for name, tensor in self._module.state_dict().items()}
        self._workload, self._federation, self._seed = workload, federation, seed
        self.weights = flatten(self._state)

    def deltas(self, number: int) -> Iterator[Vector]:
        """Of every miner in round `number`; the samples' order is by (seed, round, miner), whatever the rule."""
        for place, dataset in enumerate(self._federation.miners):
            self._load()
            yield train(
                self._module,
                dataset,
                self._workload.training,
                _LIMITS,
                device=torch.device("cpu"),
                seed=(self._seed * 1_000 + number) * 1_000 + place,
            ).delta

    def accuracy(self) -> float:
        """Of the weights as they are."""
        self._load()
        return accuracy(self._module, self._federation.test)

    def _load(self) -> None:
        self._module.load_state_dict(with_flat(self._state, self.weights))


def fedavg(w: Vector, deltas: list[Vector]) -> Vector:
    """The mean of all models, in double."""
    mean: NDArray[np.float64] = np.mean(np.stack(deltas), axis=0, dtype=np.float64)
    averaged: Vector = (w.astype(np.float64) - mean).astype(np.float32)
    return averaged


def dense(learner: Learner, rounds: int, average: Average = fedavg) -> Iterator[Round]:
    """FedAvg (McMahan et al. 2017) in plain floating point; miners count alike, as in our sum."""
    for number in range(1, rounds + 1):
        learner.weights = average(learner.weights, list(learner.deltas(number)))
        yield Round(accuracy=learner.accuracy(), bytes_sent=_FLOAT_BYTES * len(learner.weights))


def own_topk(learner: Learner, plan: Plan) -> Iterator[Round]:
    """Every miner's own largest |residual + delta| (Lin et al. 2018), with the plan's shares; a coordinate that one miner alone names stays with it."""
    d = len(learner.weights)
    residuals = np.zeros((learner.miners, d), dtype=np.float32)
    for number in range(1, plan.rounds + 1):
        k = ceil_ratio(plan.share(number), d)
        named = np.zeros((learner.miners, d), dtype=np.bool_)
        for place, delta in enumerate(learner.deltas(number)):
            residuals[place] += delta
            named[place, np.argsort(-np.abs(residuals[place]), kind="stable")[:k]] = True
        named &= named.sum(0) >= 2
        total = np.where(named, residuals, np.float32(0)).astype(np.float64).sum(0)
        residuals[named] = 0
        learner.weights = (learner.weights - total / learner.miners).astype(np.float32)
        yield Round(accuracy=learner.accuracy(), bytes_sent=min(_PAIR_BYTES * k, _FLOAT_BYTES * d))


def ours(learner: Learner, plan: Plan, kernel: Kernel, *, every: bool) -> Iterator[Round]:
    """The product's rules by the product's functions, as the stages and the aggregator call them.

    A sum is decrypted in rounds 1, 2 and the last (`every`: in all), and must be the plain one; else it is the plain one.
    Raises FleetError where they differ.
    """
    d, support = len(learner.weights), None
    residuals: list[Vector | None] = [None] * learner.miners
    for number in range(1, plan.rounds + 1):
        task = task_of(plan, number, learner.miners, d, support)
        chosen = None if support is None else indices_from_bitmap(support, d)
        values, wishes = [], []
        for place, delta in enumerate(learner.deltas(number)):
            made = compress(delta, residuals[place], chosen, scale=task.quantization.scale, clip=task.quantization.clip)
            residuals[place] = made.residual
            values.append(made.values)
            wishes.append(wish(made.residual, delta, task.ratio))
        sums, encrypted = plain_sum(task, values), every or number in (1, 2, plan.rounds)
        sent = points32_size(task.groups(len(values[0])) + 1) + len(wishes[0])
        if encrypted:
            found = encrypted_sum(task, values, wishes, kernel)
            if not np.array_equal(found.values, sums):
                raise FleetError(f"round {number}: the decrypted sum is not the sum of the values")
            around = found.bytes_sent - sent  # header, signature and proof: the same for every round but for digits
        learner.weights = apply_update(learner.weights, sums, chosen, learner.miners, task.quantization.scale)
        support = next_support(task.task_id, number + 1, d, task.ratio, wishes)
        yield Round(accuracy=learner.accuracy(), bytes_sent=sent + around, encrypted=encrypted)
