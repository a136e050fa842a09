"""Stage 3: training on private data. What leaves this stage is delta = w_old - w_new, into the fleet's own store."""

import hashlib
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from pipeline.errors import Misconfigured
from pipeline.protocol.task import Training
from pipeline.settings import Settings
from pipeline.stages.contract import Job, Output

if TYPE_CHECKING:
    from torch.nn import Module

    from pipeline.learning.data.datasets import Dataset
    from pipeline.learning.models.checkpoints import Model
    from pipeline.learning.training import Limits, Trained


def run(job: Job) -> Output:
    """Trains from the task's model, from its last checkpoint on if there is one.

    Artifact `delta`, float32[d]; figures epochs, losses, metrics (of each epoch), accuracy (on held-back data, or None),
    device, seconds, limited (where the operator's limits won), ignored (unknown members of the task's training), statistics
    (where batch norm's are among the coordinates), privacy (what dp spent, or None). Notes `checkpoint` after every epoch. Raises Rejected, Misconfigured, Corrupt.
    """
    # torch, and only in the pool that trains.
    from pipeline.learning.data.datasets import open_dataset
    from pipeline.learning.data.statistics import keep_positive, statistics_of
    from pipeline.learning.models.checkpoints import flatten

    model = read(job)
    dataset = open_dataset(
        job.identity.data,
        job.task.dataset,
        job.settings.cache,
        architecture=model.architecture,
        validation_share=job.settings.validation_share,
    )
    check_same_data(job, dataset.digest)
    kept = KeptCheckpoint(job)
    module = model.module()
    statistics = statistics_of(module)
    trained = train_on(job, module, dataset, resume=kept.load(), save=lambda make: kept.save(make()))
    delta = keep_positive(trained.delta, flatten(model.state), statistics, job.task.quantization.scale)
    return Output(
        artifacts={"delta": job.artifacts.put_array(delta)},
        figures={**figures(job, trained), "statistics": [list(span) for span in statistics.spans]},
    )


class KeptCheckpoint:
    """A training's newest checkpoint in the store. The one before goes when the new one is noted."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._digest = job.inputs.get("checkpoint")

    def load(self) -> bytes | None:
        """What an earlier attempt left. Raises Corrupt."""
        store = self._job.artifacts
        return store.get(self._digest) if self._digest is not None and store.exists(self._digest) else None

    def save(self, checkpoint: bytes) -> None:
        """Stores and notes it. Raises Retryable, and what the job's `note` raises."""
        digest = self._job.artifacts.put(checkpoint)
        self._job.note("checkpoint", digest)
        if self._digest not in (None, digest):
            self._job.artifacts.delete(str(self._digest))
        self._digest = digest


def read(job: Job) -> "Model":
    """The task's model. Raises Rejected, Corrupt."""
    from pipeline.learning.models.checkpoints import read_model

    task, settings, artifacts = job.task, job.settings, job.artifacts
    return read_model(
        artifacts.path(job.inputs["model"]),
        task.architecture,
        max_bytes=settings.max_model_bytes,
        max_dimension=settings.max_dimension,
        dimension=task.dimension,
    )


def train_on(
    job: Job,
    module: "Module",
    dataset: "Dataset",
    *,
    resume: bytes | None,
    save: Callable[[Callable[[], bytes]], None],
) -> "Trained":
    """The training itself, in place, on the job's terms; `resume` and `save` as `training.train`."""
    from pipeline.learning.devices import choose_device
    from pipeline.learning.gradients import reduced_precision
    from pipeline.learning.training import train

    device = choose_device(job.settings.device)
    return train(
        module,
        dataset,
        job.task.training,
        limits(job.settings),
        device=device,
        precision=reduced_precision(device),
        seed=seed(job),
        threads=threads(job.settings.workers.get("train", 1)),
        report=job.report,
        save=save,
        resume=resume,
    )


def limits(settings: Settings) -> "Limits":
    """The operator's."""
    from pipeline.learning.training import Limits

    return Limits(
        max_epochs=settings.max_epochs,
        max_batch_size=settings.max_batch_size,
        max_seconds=settings.max_training_seconds,
        max_epsilon=settings.max_epsilon,
    )


def figures(job: Job, trained: "Trained") -> dict[str, Any]:
    """What a training tells: all of `run`'s figures but the statistics."""
    return {
        "epochs": trained.epochs,
        "losses": trained.losses,
        "metrics": trained.metrics,
        "ignored": unknown_members(job.task.document.get("training")),
        "accuracy": trained.accuracy,
        "device": trained.device,
        "seconds": round(trained.seconds, 3),
        "limited": trained.limited,
        "privacy": trained.privacy,
    }


def unknown_members(training: Any) -> list[str]:
    """What the task asks of a training that this version does not know: kept and hashed, without effect."""
    known = {field.encode_name for field in msgspec.structs.fields(Training)}
    return sorted(str(name)[:80] for name in training or {} if name not in known)[:20]


def check_same_data(job: Job, digest: str) -> None:
    """Raises Misconfigured where this host's data set is not the one that `data` looked at."""
    if digest != job.figures["dataset"]:
        raise Misconfigured(
            f"data set {job.task.dataset!r} in {job.identity.data} has the digest {digest}, but the data stage found "
            f"{job.figures['dataset']}: it was changed meanwhile, or this host holds another copy"
        )


def threads(processes: int) -> int:
    """torch's threads in each of a pool's processes on this host: all cores but one, which the other pools share.

    torch's threads wait for each other by spinning: two of them on two busy cores trained twenty times slower than one.
    """
    return max(1, (len(os.sched_getaffinity(0)) - 1) // max(1, processes))


def seed(job: Job) -> int | None:
    """None in production. A fixed seed still differs between tasks, rounds and miners: no two runs share a result."""
    if job.settings.training_seed is None:
        return None
    label = f"{job.settings.training_seed}/{job.task.task_id}/{job.task.round}/{job.identity.name}"
    return int.from_bytes(hashlib.sha256(label.encode()).digest(), "big")
