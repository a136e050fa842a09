"""`flfleet bench learning`: accuracy and bytes of the pipeline at several shares beside dense FedAvg, own top-k and flwr's FedAvg.

Every configuration (network, federation, seed, rule) is measured by itself and written to a file of its own in the results' folder; what is
there for the same settings is not measured again, so that a sweep goes on where it was stopped.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from bench.learning_cases import FEDERATIONS, PLANS, WORKLOADS, Arrays, Plan, Workload
from bench.learning_data import Federation, deal
from bench.learning_rival import flower
from bench.learning_rules import Average, Learner, Round, dense, ours, own_topk
from pipeline.curve.contract import Kernel

#: Of dense FedAvg and flwr's: as many as the longest plan, so that each plan finds its round in them.
LONGEST = max(plan.rounds for plan in PLANS)
#: A file of an older measurement is not read.
_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Case:
    """One training of one federation under one rule."""

    workload: Workload
    miners: int
    skewed: bool
    seed: int
    #: "dense", "flwr", "ours" or "topk".
    rule: str
    plan: Plan | None = None

    @property
    def group(self) -> str:
        """Network, miners and labels."""
        return f"{self.workload.name}-{self.miners}-{'skewed' if self.skewed else 'iid'}"

    @property
    def label(self) -> str:
        """The rule with its share."""
        return self.rule if self.plan is None else f"{self.rule} {self.plan.ratio:g}"

    def settings(self, *, every: bool) -> dict[str, Any]:
        """All that the measurement depends on."""
        return {
            "format": _FORMAT,
            "group": self.group,
            "seed": self.seed,
            "rule": self.rule,
            "plan": None if self.plan is None else self.plan.document,
            "rounds": LONGEST if self.plan is None else self.plan.rounds,
            "training": _members(self.workload.training),
            "test": self.workload.test,
            "every": every and self.rule == "ours",
        }


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A case and its rounds."""

    case: Case
    rounds: list[Round]


def cases(workloads: Sequence[str], seeds: int | None, *, with_flower: bool) -> Iterator[Case]:
    """All of these networks, seed by seed; `seeds`: at most so many of each."""
    for workload in (WORKLOADS[name] for name in workloads):
        rules: list[tuple[str, Plan | None]] = [("dense", None)]
        rules += [("flwr", None)] if with_flower else []
        rules += [("ours", plan) for plan in workload.plans]
        rules += [("topk", plan) for plan in workload.plans if plan.ratio < 1]
        for seed in range(workload.seeds if seeds is None else min(seeds, workload.seeds)):
            for miners, skewed in FEDERATIONS:
                for rule, plan in rules:
                    yield Case(workload=workload, miners=miners, skewed=skewed, seed=seed, rule=rule, plan=plan)


def measure(
    wanted: Sequence[Case],
    results: Path,
    kernel: Kernel,
    *,
    every: bool,
    flower_python: Path | None,
    say: Callable[[str], None],
) -> list[Measured]:
    """Measures what is not in `results` yet; returns everything wanted."""
    torch.set_num_threads(1)
    results.mkdir(parents=True, exist_ok=True)
    found = []
    with nullcontext() if flower_python is None else flower(flower_python) as average:
        for number, case in enumerate(wanted, 1):
            settings = case.settings(every=every)
            path = results / f"{hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:24]}.json"
            if not path.is_file():
                rounds = [asdict(each) for each in _rounds(case, kernel, average, every=every)]
                partial = path.with_suffix(f".{os.getpid()}")
                partial.write_text(json.dumps({"settings": settings, "rounds": rounds}))
                partial.replace(path)
                say(f"{number}/{len(wanted)} {case.group} seed {case.seed} {case.label}: {rounds[-1]['accuracy']:.3f}")
            rounds = json.loads(path.read_text())["rounds"]
            found.append(Measured(case=case, rounds=[Round(**each) for each in rounds]))
    return found


def _rounds(case: Case, kernel: Kernel, average: Average | None, *, every: bool) -> list[Round]:
    learner = Learner(case.workload, _federation(case.workload.name, case.miners, case.skewed, case.seed), case.seed)
    if case.plan is None:
        return list(dense(learner, LONGEST, average) if case.rule == "flwr" and average else dense(learner, LONGEST))
    if case.rule == "topk":
        return list(own_topk(learner, case.plan))
    return list(ours(learner, case.plan, kernel, every=every))


@lru_cache(maxsize=4)
def _arrays(workload: str) -> Arrays:
    return WORKLOADS[workload].data()


@lru_cache(maxsize=8)
def _federation(workload: str, miners: int, skewed: bool, seed: int) -> Federation:
    x, y = _arrays(workload)
    return deal(x, y, miners=miners, skewed=skewed, test=WORKLOADS[workload].test, seed=seed)


def _members(struct: Any) -> dict[str, Any]:
    return {name: getattr(struct, name) for name in struct.__struct_fields__}
