"""`flfleet publish --pilot`: the pilot of a task and what it says, for people and for scripts."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.task_document import Wanted
from pipeline.learning.proposal import LEVEL, Proposal
from pipeline.protocol.strict import convert
from pipeline.protocol.task import Training
from pipeline.settings import Settings

if TYPE_CHECKING:
    from pipeline.learning.models.checkpoints import Model
    from pipeline.learning.pilot import Pilot


@dataclass(frozen=True)
class FlownPilot:
    """A pilot that was flown."""

    pilot: "Pilot"

    @property
    def proposal(self) -> Proposal:
        """Scale, clip, and why."""
        return self.pilot.proposal

    @property
    def model(self) -> "Model":
        """The task's first model."""
        return self.pilot.model

    def figures(self) -> dict[str, Any]:
        """For `--json`."""
        trained = self.pilot.trained
        return {
            **asdict(self.proposal),
            "epochs": trained.epochs,
            "losses": trained.losses,
            "accuracy": trained.accuracy,
            "seconds": round(trained.seconds, 3),
        }

    def explanation(self) -> str:
        """What it proposes and why, in sentences."""
        proposal, trained = self.proposal, self.pilot.trained
        held = "" if trained.accuracy is None else f", accuracy {trained.accuracy:.3f} on what was held back"
        lines = [
            f"pilot: {trained.epochs} epochs in {trained.seconds:.1f} s, loss {trained.losses[-1]:.3f}{held}"
            if trained.losses
            else f"pilot: no epoch was done in {trained.seconds:.1f} s",
            f"  weights moved by {_numbers(proposal.weights)} (median, 90 %, 99 %, largest)",
            (
                f"  with c = {LEVEL}, clips from {proposal.plateau[0]:.3g} to {proposal.plateau[1]:.3g} lose about as little; "
                f"{LEVEL / proposal.scale:.3g} leaves {proposal.error:.0%} of the first update to the residual: scale {proposal.scale}"
            ),
        ]
        if proposal.statistics is not None:
            lines.append(
                f"  {self.pilot.statistics:,} statistics of batch norm, set from the pilot's data first, moved by "
                f"{_numbers(proposal.statistics)}: they would wait behind the weights' clip, so it is {proposal.clip:.3g}"
            )
        return "\n".join(lines)


def fly_pilot(settings: Settings, data: Path, wanted: Wanted, model: "Model") -> FlownPilot:
    """One local round over `<data>/<dataset>`. Raises Misconfigured for the data, Rejected for the task's wishes."""
    from pipeline.learning.data.datasets import open_dataset
    from pipeline.learning.devices import choose_device
    from pipeline.learning.pilot import run_pilot
    from pipeline.learning.training import Limits

    dataset = open_dataset(
        data,
        wanted.dataset,
        settings.cache,
        architecture=model.architecture,
        validation_share=settings.validation_share,
    )
    limits = Limits(
        max_epochs=settings.max_epochs,
        max_batch_size=settings.max_batch_size,
        max_seconds=settings.max_training_seconds,
    )
    training = convert(dict(wanted.training), Training, "training")
    return FlownPilot(
        run_pilot(model, dataset, training, limits, device=choose_device(settings.device), seed=settings.training_seed)
    )


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.3g}" for value in values)
