"""Stage 3: training on private data. What leaves this stage is delta = w_old - w_new, into the fleet's own store."""

import hashlib
import os
from typing import TYPE_CHECKING, Any

import msgspec

from pipeline.errors import Misconfigured
from pipeline.protocol.task import Training
from pipeline.stages.contract import Job, Output

if TYPE_CHECKING:
    from pipeline.learning.checkpoints import Model
    from pipeline.learning.datasets import Dataset


def run(job: Job) -> Output:
    """Trains from the task's model, from its last checkpoint on if there is one.

    Artifact `delta`, float32[d]; figures epochs, losses, metrics (of each epoch), accuracy (on held-back data, or None),
    device, seconds, limited (where the operator's limits won), ignored (unknown members of the task's training), statistics
    (where batch norm's are among the coordinates), privacy (what dp spent, or None). Notes `checkpoint` after every epoch. Raises Rejected, Misconfigured, Corrupt.
    """
    # torch, and only in the pool that trains.
    from pipeline.learning.datasets import open_dataset

    model = read(job)
    dataset = open_dataset(
        job.identity.data,
        job.task.dataset,
        job.settings.cache,
        architecture=model.architecture,
        validation_share=job.settings.validation_share,
    )
    check_same_data(job, dataset.digest)
    return train_on(job, model, dataset)


def read(job: Job) -> "Model":
    """The task's model. Raises Rejected, Corrupt."""
    from pipeline.learning.checkpoints import read_model

    task, settings, artifacts = job.task, job.settings, job.artifacts
    return read_model(
        artifacts.path(job.inputs["model"]),
        task.architecture,
        max_bytes=settings.max_model_bytes,
        max_dimension=settings.max_dimension,
        dimension=task.dimension,
    )


def train_on(job: Job, model: "Model", dataset: "Dataset") -> Output:
    """The training itself, as `run`."""
    from pipeline.learning.checkpoints import flatten
    from pipeline.learning.devices import choose_device
    from pipeline.learning.gradients import reduced_precision
    from pipeline.learning.statistics import keep_positive, statistics_of
    from pipeline.learning.training import Limits, train

    task, settings, artifacts = job.task, job.settings, job.artifacts
    kept = job.inputs.get("checkpoint")

    def save(checkpoint: bytes) -> None:
        nonlocal kept
        digest = artifacts.put(checkpoint)
        job.note("checkpoint", digest)
        if kept is not None and kept != digest:
            artifacts.delete(kept)
        kept = digest

    device, module = choose_device(settings.device), model.module()
    statistics = statistics_of(module)
    trained = train(
        module,
        dataset,
        task.training,
        Limits(
            max_epochs=settings.max_epochs,
            max_batch_size=settings.max_batch_size,
            max_seconds=settings.max_training_seconds,
            max_epsilon=settings.max_epsilon,
        ),
        device=device,
        precision=reduced_precision(device),
        seed=seed(job),
        threads=threads(settings.workers.get("train", 1)),
        report=job.report,
        save=save,
        resume=artifacts.get(kept) if kept is not None and artifacts.exists(kept) else None,
    )
    delta = keep_positive(trained.delta, flatten(model.state), statistics, task.quantization.scale)
    return Output(
        artifacts={"delta": artifacts.put_array(delta)},
        figures={
            "epochs": trained.epochs,
            "losses": trained.losses,
            "metrics": trained.metrics,
            "ignored": unknown_members(task.document.get("training")),
            "accuracy": trained.accuracy,
            "device": trained.device,
            "seconds": round(trained.seconds, 3),
            "limited": trained.limited,
            "privacy": trained.privacy,
            "statistics": [list(span) for span in statistics.spans],
        },
    )


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
