"""Round 1's task, put together from what a publisher wants and who the parties are; `localnet` and `publish` both start here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.consortium import Consortium
from cli.round_plan import task_ratios
from pipeline.learning.proposal import DEFAULT_CLIP, DEFAULT_SCALE
from pipeline.nddfe.pack_choice import choose_pack
from pipeline.protocol.encodings import PROTOCOL, sha256, to_hex
from pipeline.protocol.task import Architecture, Quantization

if TYPE_CHECKING:
    from pipeline.learning.models.checkpoints import Model

DEFAULT_TRAINING: Mapping[str, Any] = {"epochs": 5, "batchSize": 16, "optimizer": "sgd", "learningRate": 0.1}
DEFAULT_PLAN = (1.0, 0.1)
#: The first model is public anyway: the same one every time makes runs comparable.
DEFAULT_SEED = 1


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the publisher asks for."""

    task_id: str
    dataset: str
    rounds: int
    min_miners: int
    #: Share of the coordinates that each round sends, the last one for all later rounds.
    shares: Sequence[float] = DEFAULT_PLAN
    #: Coordinates a point; None: the cheapest.
    pack: int | None = None
    #: None: the task goes on to its last round.
    expected_accuracy: float | None = None
    #: Whether rounds go on to the last one although the accuracy was reached.
    all_rounds: bool = False
    training: Mapping[str, Any] = field(default_factory=lambda: DEFAULT_TRAINING)
    scale: int = DEFAULT_SCALE
    clip: float = DEFAULT_CLIP
    timeout: int = 3600


def fresh_model(architecture: Architecture, seed: int = DEFAULT_SEED) -> "Model":
    """A network at its first weights. Raises Rejected or Misconfigured for an architecture that cannot be built."""
    import torch

    from pipeline.learning.models.architectures import build
    from pipeline.learning.models.checkpoints import Model

    torch.manual_seed(seed)
    return Model(architecture=architecture, state=dict(build(architecture).state_dict()))


def model_file(model: "Model") -> bytes:
    """Canonical safetensors."""
    from pipeline.learning.models.model_file import write_model

    return write_model(model.state, model.architecture)


def first_round(
    wanted: Wanted, parties: Consortium, model: bytes, architecture: Architecture, dimension: int, kernel: str
) -> dict[str, Any]:
    """The document that `tasks.publishing.plan` keeps: round 1 without publishedAt and signature.

    `kernel`: by whose costs the pack is chosen, where none is wanted.
    """
    most = len(parties.miners)
    level = Quantization(scale=wanted.scale, clip=wanted.clip, pack=1).level
    cheapest = choose_pack(most, level, kernel)
    # Where no pack is allowed at all, the check of the task says why.
    pack = wanted.pack or (cheapest.pack if cheapest else 1)
    document: dict[str, Any] = {
        "protocol": PROTOCOL,
        "taskID": wanted.task_id,
        "round": 1,
        "dataset": wanted.dataset,
        "dimension": dimension,
        "modelURL": f"{parties.backend}/models/{sha256(model).hex()}",
        "modelSHA256": to_hex(sha256(model)),
        "architecture": {"name": architecture.name, "kwargs": architecture.kwargs},
        "aggregatorPublicKey": parties.aggregator.public_key,
        "tpPublicKey": parties.publisher.public_key,
        "aggregatorURL": parties.aggregator.url,
        "publisherURL": parties.publisher.url,
        "miners": list(parties.miners),
        "minMiners": wanted.min_miners,
        "maxMiners": most,
        "training": dict(wanted.training),
        "compression": {"ratio": task_ratios(wanted.shares)[0]},
        "quantization": {"scale": wanted.scale, "clip": wanted.clip, "pack": pack},
        "maxRounds": wanted.rounds,
        "timeout": wanted.timeout,
    }
    if wanted.expected_accuracy is not None:
        document["expectedAccuracy"] = wanted.expected_accuracy
    return document


def keep_plan(home: Path, wanted: Wanted, document: dict[str, Any], model: bytes) -> None:
    """Puts it into the publisher's ledger, whose worker signs and follows the rounds. The same again is no change.

    Raises Rejected with what is wrong with it, Conflict where another plan has that taskID.
    """
    from pipeline.settings import load
    from tasks.publishing import plan

    plan(
        load(home),
        document=document,
        model=model,
        ratios=task_ratios(wanted.shares),
        stop_at_expected=not wanted.all_rounds and wanted.expected_accuracy is not None,
    )
