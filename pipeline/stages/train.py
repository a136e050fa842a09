"""Stage 3, train: delta = w_old - w_new on the operator's own data, on a GPU where there is one."""

import hashlib

from pipeline.errors import Misconfigured
from pipeline.learning.datasets import open_dataset
from pipeline.stages.contract import Job, Output


def run(job: Job) -> Output:
    """Artifact `delta`, float32[d]. An epoch's checkpoint is noted, so that another worker can go on from it."""
    from pipeline.learning.architectures import build
    from pipeline.learning.checkpoints import read_model
    from pipeline.learning.training import Checkpointing, Limits, train

    settings = job.settings
    model = read_model(
        job.artifacts.path(job.inputs["model"]),
        job.task.architecture,
        dimension=job.task.dimension,
        max_dimension=settings.max_dimension,
    )
    dataset = open_dataset(job.identity.data / job.task.dataset, settings.cache, settings.validation_share)
    if dataset.digest != job.figures["dataset"]:
        raise Misconfigured(
            f"{job.identity.data / job.task.dataset} is not what the data stage saw: did it change, or differ on this host?"
        )
    module = build(model.architecture)
    module.load_state_dict(model.state)
    checkpoint = job.inputs.get("checkpoint")
    trained = train(
        module,
        dataset,
        job.task.training,
        Limits(
            max_epochs=settings.max_epochs,
            max_batch_size=settings.max_batch_size,
            max_seconds=settings.max_training_seconds,
        ),
        device=settings.device,
        seed=_seed(job),
        report=job.report,
        checkpointing=Checkpointing(
            resume=job.artifacts.get(checkpoint) if checkpoint else None,
            save=lambda state: job.note("checkpoint", job.artifacts.put(state)),
        ),
    )
    figures = {
        "epochs": len(trained.losses),
        "losses": trained.losses,
        "accuracy": trained.accuracy,
        "device": trained.device,
        "limited": trained.limited,
    }
    return Output(artifacts={"delta": job.artifacts.put_array(trained.delta)}, figures=figures)


def _seed(job: Job) -> int | None:
    """None in production. A fixed seed still differs between tasks, rounds and miners: no result is shared by two runs."""
    if job.settings.training_seed is None:
        return None
    label = f"{job.settings.training_seed}/{job.task.task_id}/{job.task.round}/{job.identity.name}"
    return int.from_bytes(hashlib.sha256(label.encode()).digest()[:8], "big")
