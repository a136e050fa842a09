"""Stage 2: the identity looks at its own data, before a training's hours depend on them. They stay where they are."""

from pipeline.learning.data.datasets import open_dataset
from pipeline.protocol.strict import convert
from pipeline.protocol.task import Architecture
from pipeline.stages.contract import Job, Output


def run(job: Job) -> Output:
    """Checks, normalises and maps the task's data set for the model that `fetch` found.

    Figures: dataset (its digest, what `train` must find again), samples, held, classes, shape. Raises Misconfigured for
    whatever is wrong with the data, Retryable where the cache cannot be written.
    """
    dataset = open_dataset(
        job.identity.data,
        job.task.dataset,
        job.settings.cache,
        architecture=convert(job.figures["architecture"], Architecture, "architecture"),
        validation_share=job.settings.validation_share,
    )
    return Output(
        figures={
            "dataset": dataset.digest,
            "samples": len(dataset.training),
            "held": len(dataset.held_back),
            "classes": dataset.classes,
            "shape": list(dataset.shape),
        }
    )
